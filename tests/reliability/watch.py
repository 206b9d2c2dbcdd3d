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
CHANGES = {"os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree", "os.chmod"}
TWO_PATHS = {"os.rename", "os.link", "os.symlink"}
READS = {"open", "exec", "compile", "import", "pickle.find_class"}
WATCHED = READS | STARTS | CONNECTS | CHANGES | TWO_PATHS
WRITES = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC


class Watch:
    """Reports what must not happen, one JSON line each; an audit hook that cannot be switched off again.

    Args:
        report: File descriptor that the lines go to.
        stranger: The folder whose code must not run.
        writable: Folders in which this process may write.
        known: Lines that are of no interest: those of a clean folder.
    """

    def __init__(self, report: int, stranger: Path, writable: Collection[Path], known: Collection[str]) -> None:
        self.report, self.known, self.busy = report, known, False
        self.roots = [f"{os.path.realpath(root)}{os.sep}" for root in writable]
        self.foreign = f"{os.path.realpath(stranger)}{os.sep}"
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in WATCHED or self.busy:
            return
        self.busy = True
        try:
            what = self.judge(event, arguments)
        except Exception as error:
            what = f"the watch failed at {event}: {error!r}"
        if what is not None and what not in self.known:
            os.write(self.report, f"{json.dumps(what)}\n".encode())
        self.busy = False

    def judge(self, event: str, arguments: tuple[Any, ...]) -> str | None:
        """Say what an event is that must not be; None for what may be."""
        if event == "open":
            return f"wrote {arguments[0]}" if self._writes_outside(*arguments[:3]) else None
        if event in CHANGES:
            return None if self.may_write(arguments[0]) else f"{event} {arguments[0]}"
        if event in TWO_PATHS:
            paths = arguments[:2] if event == "os.rename" else arguments[1:2]
            return None if all(map(self.may_write, paths)) else f"{event} {arguments[:2]}"
        if event in READS:
            return self._runs(event, arguments)
        return f"{event} {arguments[1] if event == 'socket.connect' else arguments[0]}"

    def may_write(self, path: Any) -> bool:
        """Tell whether a path, links in the folders above it followed, lies where this process may write."""
        if path is None or isinstance(path, int):
            return True
        whole = Path.cwd() / os.fsdecode(path)
        real = f"{os.path.realpath(whole.parent)}{os.sep}{whole.name}"
        return real.startswith(("/dev/null", "/proc/")) or any(f"{real}{os.sep}".startswith(r) for r in self.roots)

    def _writes_outside(self, path: Any, mode: Any, flags: Any) -> bool:
        writing = any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool((flags or 0) & WRITES)
        return writing and not isinstance(path, int) and not self.may_write(os.path.realpath(os.fsdecode(path)))

    def _runs(self, event: str, arguments: tuple[Any, ...]) -> str | None:
        if event == "pickle.find_class":
            return f"unpickled {arguments[0]}.{arguments[1]}"
        if event == "import":
            return f"imported {arguments[0]}" if str(arguments[0]).startswith(("evil_", "antigravity")) else None
        if event == "exec":
            name = getattr(arguments[0], "co_filename", "")
            return f"ran {name}" if os.path.realpath(name).startswith(self.foreign) else None
        source = arguments[0].decode(errors="replace") if isinstance(arguments[0], bytes) else arguments[0]
        return "compiled a stranger's code" if isinstance(source, str) and MARK in source else None


def snapshot(folder: Path) -> dict[str, str | bytes]:
    """Return what lies in a folder: files with their bytes, links with their targets, folders."""
    found: dict[str, str | bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = path.read_bytes() if path.is_file() else "folder"
    return found


def watched(
    call: Callable[[], Any], report: Path, stranger: Path, writable: Collection[Path], known: Collection[str]
) -> Callable[[], Any]:
    """Return a call that is watched from its first instruction on; the report is a file."""

    def under_watch() -> Any:
        Watch(os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stranger, writable, known)
        return call()

    return under_watch


def read_report(report: Path) -> list[str]:
    """Return what a watched process reported."""
    return [json.loads(line) for line in report.read_text().splitlines()] if report.is_file() else []
