"""Which machine a result belongs to, and which code made it."""

import hashlib
import re
from pathlib import Path

import torch

from eat.suite.settings import num_cores


def machine_class(device: torch.device, cpu: str) -> str:
    """Name the folder of a machine's results: the GPU, or the processor with its cores."""
    if device.type == "cuda":
        return slug(torch.cuda.get_device_name(device))
    return f"cpu-{slug(cpu)}-{num_cores()}-cores"


def slug(name: str) -> str:
    """Bring a name into lower-case words joined by dashes, without marks of trade and "processor"."""
    plain = re.sub(r"\((r|tm)\)|\bcpu\b|\bprocessor\b|@.*", " ", name.lower())
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "unknown"


def code_digest() -> str:
    """Name the package's code with 12 hex digits, so that a change to it makes measurements stale.

    A commit would not do: writing results changes the working tree, and committing them changes the commit.
    """
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
