"""Hashes of the files that a table was made of."""

import hashlib
from pathlib import Path

READ = (
    "config.yaml",
    "environment.json",
    "report/frontier.csv",
    "report/operating_point.json",
    "report/benchmark.json",
)
"""What tables read of a run, beside its traces."""


def file_digest(path: Path) -> str:
    """Return the start of a file's SHA-256.

    Raises:
        FileNotFoundError: If it is not there.
    """
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:16]


def digest_files(run: Path) -> str:
    """Name all that tables read of a run folder, its traces among them."""
    paths = [path for name in READ if (path := run / name).is_file()]
    paths += sorted((run / "trace").glob("*.parquet"))
    lines = [f"{path.relative_to(run).as_posix()} {file_digest(path)}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
