"""A tiny installed package: a module, and the metadata by which its entry points are found."""

from collections.abc import Mapping
from pathlib import Path


def write_package(folder: Path, package: str, source: str, parts: Mapping[str, Mapping[str, str]]) -> Path:
    """Write a package as an installer would leave it; ``parts`` is group -> name -> attribute of its module."""
    module = package.replace("-", "_")
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / f"{module}.py").write_text(source)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = []
    for group, names in parts.items():
        lines += [f"[{group}]", *(f"{name} = {module}:{attribute}" for name, attribute in names.items())]
    (metadata / "entry_points.txt").write_text("\n".join([*lines, ""]))
    return folder
