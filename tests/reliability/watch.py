"""Watch a process through Python's audit hook: what it starts, runs, imports, connects to and writes, and where."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from tests.reliability.hostile_folders import MARK

STARTS = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "subprocess.Popen", "pty.spawn"}
CONNECTS = {"socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto", "urllib.Request"}
CHANGES = {"os.remove": 0, "os.rmdir": 0, "os.mkdir": 0, "os.truncate": 0, "shutil.rmtree": 0, "os.chmod": 0}
TWO_PATHS = {"os.rename", "os.link", "os.symlink"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC
WATCHED = {"open", "exec", "compile", "import", "pickle.find_class", *STARTS, *CONNECTS, *CHANGES, *TWO_PATHS}


def watch(report: int, stranger: Path, writable: Collection[Path], known: Collection[str]) -> None:
    """Report to a file descriptor, one JSON line each, what must not happen; it cannot be switched off again.

    Args:
        report: Where the lines go.
        stranger: The folder whose code must not run.
        writable: Folders in which this process may write.
        known: Programs, hosts and pickled classes that are of no interest: those of a clean folder.
    """
    roots = [os.path.realpath(root) + os.sep for root in writable]
    foreign = os.path.realpath(stranger) + os.sep

    def inside(path: Any) -> bool:
        if isinstance(path, int) or path is None:
            return True
        parent, name = os.path.split(os.path.abspath(os.fsdecode(path)))
        real = os.path.join(os.path.realpath(parent), name)
        return any(f"{real}{os.sep}".startswith(root) for root in roots) or real.startswith(("/dev/null", "/proc/"))

    def writes_outside(path: Any, mode: Any, flags: Any) -> bool:
        writing = any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool((flags or 0) & WRITES)
        return writing and not isinstance(path, int) and not inside(os.path.realpath(os.fsdecode(path)))

    def found(event: str, arguments: tuple[Any, ...]) -> str | None:
        if event == "open":
            return f"wrote {arguments[0]}" if writes_outside(*arguments[:3]) else None
        if event in CHANGES:
            return None if inside(arguments[0]) else f"{event} {arguments[0]}"
        if event in TWO_PATHS:
            new = arguments[1] if event != "os.rename" or inside(arguments[0]) else arguments[0]
            return None if inside(new) else f"{event} {arguments[:2]}"
        if event == "exec":
            name = getattr(arguments[0], "co_filename", "")
            return f"ran {name}" if os.path.realpath(name).startswith(foreign) else None
        if event == "compile":
            source = arguments[0] if isinstance(arguments[0], str | bytes) else b""
            mark = MARK if isinstance(source, str) else MARK.encode()
            return "compiled a stranger's code" if mark in source else None  # type: ignore[operator]
        if event == "import":
            return f"imported {arguments[0]}" if str(arguments[0]).startswith(("evil_", "antigravity")) else None
        if event == "pickle.find_class":
            return f"unpickled {arguments[0]}.{arguments[1]}"
        return f"{event} {arguments[0] if event != 'socket.connect' else arguments[1]}"

    busy = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal busy
        if event not in WATCHED or busy:
            return
        busy = True
        try:
            what = found(event, arguments)
            if what is not None and what not in known:
                os.write(report, f"{json.dumps(what)}\n".encode())
        except Exception as error:
            os.write(report, f"{json.dumps(f'the watch failed at {event}: {error!r}')}\n".encode())
        finally:
            busy = False

    sys.addaudithook(hook)


def snapshot(folder: Path) -> dict[str, str | bytes]:
    """Return what lies in a folder: files with their bytes, links with their targets, folders."""
    found: dict[str, str | bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        else:
            found[name] = path.read_bytes() if path.is_file() else "folder"
    return found


def watched(
    call: Callable[[], Any], report: Path, stranger: Path, writable: Collection[Path], known: Collection[str]
) -> Any:
    """Return a call that is watched from its first instruction on."""

    def under_watch() -> Any:
        watch(os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stranger, writable, known)
        return call()

    return under_watch


def read_report(report: Path) -> list[str]:
    """Return what a watched process reported."""
    return [json.loads(line) for line in report.read_text().splitlines()] if report.is_file() else []
