"""Files that are either whole or as they were: a full disk or a kill never leaves half of one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield an empty neighbour of ``path`` to write to; it takes the path's place when the block ends without an error.

    Args:
        path: The file to write; its folder is made where it is missing. The neighbour has the same suffix.

    Raises:
        OSError: If writing fails (no space, no permission); the old file then stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(descriptor)
    new = Path(name)
    try:
        yield new
        with new.open("rb") as handle:
            os.fsync(handle.fileno())
        new.chmod(0o644)  # mkstemp's files are private; reports are not
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises:
        OSError: As `replacing`.
    """
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8")
