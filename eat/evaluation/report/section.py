"""A part of a report: its text in summary.md, the files beside it, and what is printed."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from eat.evaluation.report.table import Row, write_rows
from eat.files import write_text

Draw = Callable[[Path], None]
"""Draws a figure into a file."""


@dataclasses.dataclass(frozen=True, eq=False)
class Section:
    """What a stage, or a part of the summary, has to say.

    Attributes:
        title: Heading in summary.md; empty for none.
        markdown: Text below it; a section without text is not in summary.md.
        files: Name -> text, or what draws it. Figures are shown at the end of summary.md.
        rows: Name -> rows of a results table.
        console: What is printed once all files are written.
    """

    title: str = ""
    markdown: str = ""
    files: Mapping[str, str | Draw] = dataclasses.field(default_factory=dict)
    rows: Mapping[str, Sequence[Row]] = dataclasses.field(default_factory=dict)
    console: str = ""

    @property
    def text(self) -> str:
        """Its part of summary.md."""
        return f"## {self.title}\n\n{self.markdown}" if self.title and self.markdown else self.markdown

    @property
    def figures(self) -> list[str]:
        """Names of its figures."""
        return [name for name, content in self.files.items() if not isinstance(content, str)]

    def write(self, folder: Path, *, figures: bool = True) -> None:
        """Write its files, each whole or not at all; without figures, older ones go, which would show other numbers."""
        for name, rows in self.rows.items():
            write_rows(folder / name, rows)
        for name, content in self.files.items():
            if isinstance(content, str):
                write_text(folder / name, content)
            elif figures:
                draw(content, folder / name)
            else:
                (folder / name).unlink(missing_ok=True)


def draw(figure: Draw, path: Path) -> None:
    """Draw a figure: the one place that does, most of a report's time."""
    figure(path)
