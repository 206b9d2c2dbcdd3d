"""Remember which rows are answered, so that a prediction that was killed goes on where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eat.checks import one_line, shown
from eat.deployment.prediction.tally import Tally
from eat.deployment.prediction.writing import OutputFormat, Values
from eat.files import read_object, replacing, write_text

FILE = "journal.jsonl"
_OURS = ("part-*", "state-*", f"{FILE}*")
_DONE = "done"
_LINE = (int, str, dict, bool)  # of a part: its size, digest and tally, and whether there is a state behind it


@dataclass(frozen=True)
class Part:
    """A window of rows that is answered."""

    digest: str  # of the rows that were read
    tally: Tally


class Journal:
    """Parts of an output in a folder beside it: a file each, a journal that names them, the state behind the last.

    A part counts once its line stands in the journal. The line is written last, so that whatever a killed process
    left behind is either whole or written anew.

    Args:
        folder: Where the parts lie.
        header: What decides the answers, as JSON values: what was begun with another one is refused.
        fresh: Forget what was begun.

    Attributes:
        parts: Those that are there.
        state: What was given with the last of them.
        done: Whether the output was put together of them: they may then be gone.

    Raises:
        ValueError: If what was begun there has another header, or is not whole.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any], fresh: bool) -> None:
        self.folder = folder
        self.parts: list[Part] = []
        self.state: dict[str, Any] = {}
        self.done = False
        self._header = json.dumps(header)
        if fresh:
            self.remove()
        if (folder / FILE).is_file():
            self._read()

    def append(self, rows: Sequence[Values], layout: OutputFormat, part: Part, state: Mapping[str, Any]) -> None:
        """Write rows as the next part, with what is needed to go on behind it."""
        number = len(self.parts)
        if self.done:
            raise ValueError("input: it has more rows than when the output was finished; fresh=true starts anew")
        if not number:
            self._begin()
        with replacing(path := self._path(number)) as partial:
            layout.write(rows, partial)
        if state:
            write_text(self._state_path(number), json.dumps(state))
        self._write([path.stat().st_size, part.digest, asdict(part.tally), bool(state)])
        self.parts.append(part)
        self._state_path(number - 1).unlink(missing_ok=True)

    def finish(self) -> None:
        """Note that the output is there, then remove what was written here."""
        if not self.parts and not self.done:
            self._begin()
        self._write(_DONE)
        self.remove()

    def paths(self) -> list[Path]:
        """Return the parts' files in order."""
        return [self._path(number) for number in range(len(self.parts))]

    def remove(self) -> None:
        """Remove what was written here, the journal last, and the folder where nothing else is in it."""
        for file in [file for kind in _OURS for file in self.folder.glob(kind)]:
            file.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _begin(self) -> None:
        write_text(self.folder / FILE, f"{self._header}\n")

    def _write(self, line: Any) -> None:
        with (self.folder / FILE).open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(line) + "\n")
            journal.flush()
            os.fsync(journal.fileno())

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}"

    def _state_path(self, number: int) -> Path:
        return self.folder / f"state-{number:06d}.json"

    def _read(self) -> None:
        """Read header and parts; a line that is not whole was being written when the process died."""
        file = self.folder / FILE
        lines = [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        try:
            begun, *written = map(json.loads, lines)
            if not isinstance(begun, dict):
                raise ValueError(f"expected what it was begun with, got {shown(begun)}")
            self.done = _DONE in written
            self._read_parts([line for line in written if line != _DONE])
        except (OSError, RecursionError, ValueError) as error:
            raise ValueError(f"output: {self.folder} is damaged ({one_line(error)}); fresh=true starts anew") from error
        check_header(self.folder, begun, json.loads(self._header))
        os.truncate(file, sum(map(len, lines)))

    def _read_parts(self, written: Sequence[Any]) -> None:
        for number, line in enumerate(written):
            if not isinstance(line, list) or len(line) != len(_LINE) or not all(map(isinstance, line, _LINE)):
                raise ValueError(f"expected size, digest, tally and whether there is a state, got {shown(line)}")
            size, digest, tally, _ = line
            if not self.done and self._path(number).stat().st_size != size:
                raise OSError(f"{self._path(number)} is not as it was written")
            self.parts.append(Part(digest, Tally.from_json(tally)))
        if written and written[-1][-1] and not self.done:
            self.state = read_object(self._state_path(len(self.parts) - 1))


def check_header(folder: Path, begun: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Check that what was begun in a folder has the header that is asked for now.

    Raises:
        ValueError: Naming a value that differs.
    """
    for key in sorted({*begun, *asked}):
        if begun.get(key) != asked.get(key):
            raise ValueError(
                f"{key}: {folder} was begun with {shown(begun.get(key))}, got {shown(asked.get(key))}; go on with what "
                "it was begun with, or start anew with fresh=true"
            )
