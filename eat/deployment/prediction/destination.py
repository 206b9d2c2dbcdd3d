"""Where answered rows go: a file that is put together of parts, or standard output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

from eat.deployment.prediction.journal import Journal, Part
from eat.deployment.prediction.writing import OutputFormat, TextFormat, Values
from eat.files import replacing


@runtime_checkable
class Destination(Protocol):
    """Where windows of answered rows go."""

    @property
    def parts(self) -> Sequence[Part]:
        """What an earlier process has written."""

    @property
    def state(self) -> Mapping[str, Any]:
        """What was given with the last part."""

    def append(self, rows: Sequence[Values], part: Part, state: Mapping[str, Any]) -> None:
        """Write the rows of a window."""

    def finish(self) -> None:
        """End."""


class File:
    """A file that is put together of its parts at the end."""

    def __init__(self, path: Path, layout: OutputFormat, journal: Journal) -> None:
        self.path, self.layout, self.journal = path, layout, journal
        self.parts, self.state = tuple(journal.parts), journal.state

    def append(self, rows: Sequence[Values], part: Part, state: Mapping[str, Any]) -> None:
        """Write the rows of a window as a part."""
        self.journal.append(rows, self.layout, part, state)

    def finish(self) -> None:
        """Put the parts together, and remove them."""
        if self.journal.done and not self.path.exists():
            raise ValueError(f"output: {self.path} was finished, and is gone; fresh=true starts anew")
        if not self.journal.done:
            with replacing(self.path) as partial:
                self.layout.join(self.journal.paths(), partial)
        self.journal.finish()


class Stream:
    """Standard output; it is begun anew each time."""

    parts: Sequence[Part] = ()
    state: Mapping[str, Any] = {}

    def __init__(self, file: BinaryIO, layout: OutputFormat) -> None:
        assert isinstance(layout, TextFormat)
        self.file, self.layout = file, layout
        file.write(layout.head())

    def append(self, rows: Sequence[Values], part: Part, state: Mapping[str, Any]) -> None:
        """Write the rows of a window."""
        self.file.write(self.layout.body(rows))
        self.file.flush()

    def finish(self) -> None:
        """Let all out."""
        self.file.flush()
