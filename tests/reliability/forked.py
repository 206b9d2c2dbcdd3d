"""Run a command in a forked child of a process that has imported everything: an attempt costs no start.

Sound as long as the parent has one thread: nothing that another thread held can then stay locked in the child. Torch
runs with one thread and starts no pool, and pyarrow's allocator is told to start no thread (see `quiet`).
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

KILLED = -signal.SIGKILL


def start(call: Callable[[], Any], folder: Path, output: Path) -> int:
    """Start a call in a child, with a folder as its working directory; return the child's process id.

    What it prints goes to ``output``. The child leads a process group of its own.
    """
    threads = len(list(Path("/proc/self/task").iterdir())) if Path("/proc/self/task").is_dir() else 1
    if threads > 1:
        raise RuntimeError(f"fork: expected a process of one thread, this one has {threads}")
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        call()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def wait(child: int, seconds: float | None) -> int:
    """Wait for a child to end and return its exit code; kill it and its group after so many seconds: `KILLED`."""
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG if end is not None else 0)
        if done:
            return os.waitstatus_to_exitcode(status)
        if end is not None and time.monotonic() >= end:
            break
        time.sleep(0.002)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # what it started, such as git
    return os.waitstatus_to_exitcode(status)


def ask(call: Callable[[], Any], scratch: Path) -> Any:
    """Return what a call returns, JSON values, from a child: whatever threads it starts, this process starts none."""
    answer = scratch / "answer.json"
    if wait(start(lambda: answer.write_text(json.dumps(call())), scratch, scratch / "answer.txt"), None) != 0:
        raise RuntimeError((scratch / "answer.txt").read_text(errors="replace")[-2000:])
    return json.loads(answer.read_text())


def command(main: Callable[[], Any], arguments: Sequence[str]) -> Callable[[], Any]:
    """Return the call of one of the commands with arguments."""

    def call() -> Any:
        sys.argv = list(arguments)
        return main()

    return call


def preload(call: Callable[[], Any], folder: Path) -> None:
    """Run a call once in a child and import here what it imported there, so that no later child has to."""
    names = folder / "modules.json"

    def noted() -> None:
        call()
        names.write_text(json.dumps(sorted(sys.modules)))

    if wait(start(noted, folder, folder / "preload.txt"), None) != 0:
        raise RuntimeError((folder / "preload.txt").read_text(errors="replace")[-2000:])
    for name in json.loads(names.read_text()):
        if name not in sys.modules and not name.startswith(("__mp", "tests.")):
            with warnings.catch_warnings(), suppress(Exception):
                warnings.simplefilter("ignore")
                importlib.import_module(name)
