"""Tables of results as CSV files: fixed columns, each of one type, empty where nothing was measured."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eat.files import write_text

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Table:
    """The columns of a table."""

    columns: tuple[str, ...]  # all of them, in order
    text: frozenset[str]  # those that hold text, though it may look like a number (a commit)
    counts: frozenset[str]  # those that hold whole numbers; the others hold a number, or a list of them (``0.8;0.9``)
    required: int | None = None  # so many columns, the first ones, every file has; None for all
    title: str = "columns"  # what an error calls the columns
    remedy: str = ""  # what an error about other columns ends with

    def row(self, **values: Any) -> Row:
        """Build a row from the values that were measured; all other columns stay empty (None).

        Raises:
            ValueError: If a name is no column.
        """
        self._check(values)
        return {column: values.get(column) for column in self.columns}

    def write(self, path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows with all columns, whole or not at all: numbers with six digits, lists joined by ``;``.

        Raises:
            ValueError: If a row holds something that is no column.
        """
        write_text(path, self.as_csv(rows))

    def as_csv(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Return the text that `write` writes; raises as it does."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        for row in rows:
            self._check(row)
            writer.writerow([_cell(row.get(column)) for column in self.columns])
        return text.getvalue()

    def read(self, path: Path) -> list[Row]:
        """Read rows back; empty cells and columns that an older file lacks are None.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If its columns are others, or a value is no number; the message names the file.
        """
        names, lines = read_csv(path)
        if tuple(names) != self.columns[: max(len(names), self.required or len(self.columns))]:
            raise ValueError(f"{path}: expected the {self.title} {list(self.columns)}, got {names}{self.remedy}")
        try:
            return [{column: self._value(column, line.get(column)) for column in self.columns} for line in lines]
        except ValueError as error:
            raise ValueError(f"{path}: expected numbers, as were written there ({error}){self.remedy}") from error

    def _check(self, row: Mapping[str, Any]) -> None:
        unknown = sorted(set(row) - set(self.columns))
        if unknown:
            raise ValueError(f"no such {self.title}: {unknown}; expected some of {list(self.columns)}")

    def _value(self, column: str, text: str | None) -> Any:
        if not text:
            return None
        if column in self.text:
            return text
        if column in self.counts:
            return int(text)
        return [float(number) for number in text.split(";")] if ";" in text else float(text)


def read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Read a CSV file that was written here: the names in its first line, and by name what every other line holds.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no UTF-8, or a line has more or fewer cells than the first; the message names the file.
    """
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            names, *lines = [line for line in csv.reader(handle) if line] or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no readable CSV ({error})") from error
    uneven = next((number for number, line in enumerate(lines, 1) if len(line) != len(names)), None)
    if uneven is not None:
        raise ValueError(f"{path}: row {uneven}: expected {len(names)} cells, got {len(lines[uneven - 1])}")
    return names, [dict(zip(names, line, strict=True)) for line in lines]


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ";".join(str(v) for v in value)
    return "" if value is None else value
