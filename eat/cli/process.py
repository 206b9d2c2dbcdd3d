"""A job in a process of its own, under launchers whose workers do several jobs: its death is that job's alone."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from eat.cli.jobs import FAILED, FOLDER, Failed, note_failure, read_note

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
PACKAGES = str(Path(__file__).parents[2])
"""Where this very package lies; a job's own process takes it from there as well."""
QUEUES_SIGNALS = ("SIGUSR1", "SIGUSR2")
"""By which a queue says that a job's time is up or its place is needed; the launcher's process answers."""
GRACE = 600.0
"""Seconds that a queue takes at most to end a job after SIGTERM."""


def needs_process() -> bool:
    """Return whether this process is a worker of a launcher, whose death would take other jobs with it."""
    return FOLDER not in os.environ and HydraConfig.get().launcher._target_ != BASIC


def do_in_own_process(command: str, folder: Path, environment: dict[str, str]) -> Failed | None:
    """Do a job in a process of its own; return how it failed, None if it did not.

    ``environment`` is added to this process's. Where this process is told to end first, the job's saves what it has and
    ends as well.
    """
    hydra = HydraConfig.get()
    typed = list(hydra.overrides.task)
    own = [override for override in hydra.overrides.hydra if not override.startswith("hydra.mode=")]
    path = os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH")]))
    others = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}  # which Hydra is told here
    with _held_back():
        process = subprocess.Popen(
            [sys.executable, "-m", "eat", command, *own, *typed],
            stdin=subprocess.PIPE,
            env=others | environment | {FOLDER: str(folder.resolve()), "PYTHONPATH": path},
        )
    assert process.stdin is not None
    try:
        code = process.wait()
    finally:
        process.stdin.close()
        process.wait()
    number = -code if code < 0 else code - 128 if code > 128 else 0
    if number == signal.SIGTERM and os.environ.get("SUBMITIT_EXECUTOR") == "slurm":
        time.sleep(GRACE)  # this process is stopped as well, and started again; an answer would end the job for good
    if code and read_note(folder, typed).state != FAILED:
        how = f"was killed by {signal.Signals(number).name}" if number else f"ended with code {code}"
        memory = ", as the system does when memory runs out" if number == signal.SIGKILL else ""
        note_failure(folder, f"its process {how}{memory}; the same command tries it again")
    note = read_note(folder, typed)
    return Failed(str(note.error)) if note.state == FAILED else None


def end_with_launcher() -> None:
    """In a job's own process: save and end when the process that started it has gone, which ends our input."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def _held_back() -> Iterator[None]:
    """Hold a queue's signals back; a process that is started meanwhile never gets them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where no queue sends any
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {getattr(signal, name) for name in QUEUES_SIGNALS})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
