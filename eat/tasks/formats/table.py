"""Columns of a user's file, each row with the place where it stands."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eat.checks import as_typed, shown

MAX_NAMES = 20  # names in a message
MAX_LISTED = 400  # characters that they may take


@dataclass(frozen=True)
class Table:
    """Columns of a file."""

    path: Path  # the file
    columns: Mapping[str, list[Any]]  # name -> a value per row, as the file's format gives it; None where there is none
    lines: Sequence[int]  # where each row begins, from 1: the line in a text file, else the row
    stored_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # column -> class names kept in the file
    unit: str = "line"  # what ``lines`` count

    def place(self, row: int) -> str:
        """Say where a row stands."""
        return f"{self.unit} {self.lines[row]}"

    def taken(self, rows: Sequence[int]) -> "Table":
        """Return some of the rows, in the order given."""
        columns = {name: [values[row] for row in rows] for name, values in self.columns.items()}
        return replace(self, columns=columns, lines=[self.lines[row] for row in rows])


def require_columns(available: Sequence[str], wanted: Mapping[str, str], path: Path, hint: str = "") -> None:
    """Check that every column asked for is there once; ``hint`` ends the message about one that is not there.

    Raises:
        ValueError: If one is missing or repeated.
    """
    for name, option in wanted.items():
        if name not in available:
            close = difflib.get_close_matches(name, available, n=1)
            meant = f" (did you mean {option}={as_typed(close[0])}?)" if close else ""
            raise ValueError(f"{option}: {path} has no column {shown(name)}; it has {listed(available)}{meant}{hint}")
        if list(available).count(name) > 1:
            raise ValueError(f"{option}: {path}: column names must differ, [{shown(name)}] stand there more than once")


def listed(names: Sequence[str]) -> str:
    """List names for a message: the first ones, as many as fit, and how many more there are."""
    first: list[str] = []
    for name in map(shown, names[:MAX_NAMES]):
        if sum(map(len, first)) + len(name) > MAX_LISTED:
            break
        first.append(name)
    more = f" and {len(names) - len(first)} more" if len(names) > len(first) else ""
    return f"[{', '.join(first)}]{more}"
