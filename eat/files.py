"""Files that are there whole or not at all, whenever the process dies and whatever the disk says."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eat.checks import one_line

CACHE_VARIABLE = "EAT_CACHE_DIR"


def cache_folder() -> Path:
    """Return where prepared data and measurements are kept: ``EAT_CACHE_DIR``, else a folder in the user's cache."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "eat")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a neighbour of ``path`` to write; on success it takes the path's place in one step, else it goes.

    The data reach the disk before the name does, so that even a power cut leaves the old file or the new one.

    Args:
        path: File to write or replace; its folder is made.

    Raises:
        OSError: If the file cannot be written, for instance on a full disk; the old file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        with partial.open("rb") as handle:
            os.fsync(handle.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        kept = "the file that was there is kept" if path.exists() else "nothing was left there"
        raise OSError(error.errno, f"could not write {path} ({error.strerror or error}); {kept}") from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


@contextmanager
def replacing_folder(path: Path, last: str) -> Iterator[Path]:
    """Yield a neighbour of a folder to fill; on success its files take their place there, else nothing changes.

    A new folder appears in one step. In one that is there, of a process that was killed or with files of another kind,
    each file is replaced in one step, ``last`` at the end; other files stay.

    Args:
        path: Folder of plain files; its parents are made.
        last: The file by which readers tell that the folder is whole.
    """
    partial = path.with_name(f"{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of an earlier process that was killed here
    partial.mkdir(parents=True)
    try:
        yield partial
        files = sorted(partial.iterdir(), key=lambda file: file.name == last)
        for file in filter(Path.is_file, files):
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        _sync_folder(partial)
        if path.exists():
            for file in files:
                file.replace(path / file.name)
            _sync_folder(path)
        else:
            partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; errors are those of `replacing`."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it holds something else; one line that names the file.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no readable JSON ({one_line(error)})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(values).__name__}")
    return values


def _sync_folder(folder: Path) -> None:
    """Make a rename last; where folders cannot be opened (Windows), the system does that itself."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
