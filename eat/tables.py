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
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        for row in rows:
            self._check(row)
            writer.writerow([_cell(row.get(column)) for column in self.columns])
        write_text(path, text.getvalue())

    def read(self, path: Path) -> list[Row]:
        """Read rows back; empty cells and columns that an older file lacks are None.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If its columns are others.
        """
        with path.open(encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle)
            known = tuple(reader.fieldnames or ())
            if known != self.columns[: max(len(known), self.required or len(self.columns))]:
                raise ValueError(
                    f"{path}: expected the {self.title} {list(self.columns)}, got {reader.fieldnames}{self.remedy}"
                )
            return [{column: self._value(column, row.get(column)) for column in self.columns} for row in reader]

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


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ";".join(str(v) for v in value)
    return "" if value is None else value
