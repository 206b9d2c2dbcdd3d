"""A lock on a run folder: beside it, so that it holds while the folder is moved away."""

import errno
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path, *, wait: bool, needed: bool = False) -> Iterator[None]:
    """Hold a run folder for this process; the system lets go when the process ends, however it ends.

    The lock is a hidden file beside the folder, or in it where one cannot write beside it. Evaluations (``wait``) take
    their turn, and go on without a lock where nobody can write. Trainings do neither; those of a sweep take their turn
    as well, but need the lock (``needed``).

    Raises:
        RuntimeError: If another process trains or evaluates there, and this one does not wait.
        OSError: If no lock can be written, and this one does not wait or needs it.
    """
    lock = _take(folder, wait, needed)
    try:
        yield
    finally:
        if lock is not None:
            if os.name == "posix":  # still held: whoever opened it meanwhile sees that it is gone; Windows removes it
                Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()


@contextmanager
def locked_together(folders: Iterable[Path]) -> Iterator[None]:
    """Hold several run folders, as evaluations do: taken in one order, so that two that name the same never block."""
    with ExitStack() as held:
        for folder in sorted({folder.resolve() for folder in folders}):
            held.enter_context(locked(folder, wait=True))
        yield


def _can_be_made(path: Path) -> bool:
    """Tell whether a file can be made; a rival's, which may have come meanwhile, is left as it is."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o666))
    except OSError:
        return False
    return True


def _take(folder: Path, wait: bool, needed: bool) -> FileLock | None:
    whole = folder.resolve()
    failed: OSError | None = None
    for path in (whole.with_name(f".{whole.name}.lock"), whole / ".lock"):
        lock = FileLock(path)
        try:
            lock.acquire(blocking=False)
        except Timeout as error:
            if not path.exists() and not _can_be_made(path):  # what FileLock takes for a rival's
                failed = OSError(errno.EACCES, "no file can be made there", str(path))
                continue
            if not wait:
                raise RuntimeError(
                    f"another process is training in {folder}, or evaluates it; wait for it or stop it"
                ) from error
            log.info("another process evaluates or trains in %s; waiting until it is done", folder)
            lock.acquire()
        except OSError as error:  # a folder that one may only read
            failed = error
            continue
        return lock
    if failed is not None and (needed or not wait):
        raise failed
    return None
