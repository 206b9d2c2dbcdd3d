"""Delimited text, CSV and TSV: the delimiter is told by the header unless it is given."""

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eat.checks import shown
from eat.tasks.formats.table import Table, require_columns
from eat.tasks.formats.text_lines import text_lines

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
"""Those that a header is tried with, by the names that a shell needs no quotes for."""

_BROKEN = {"unexpected end of data": ": a double quote opens here and never closes"}


@dataclass(frozen=True)
class Dialect:
    """How a file with a delimiter is written."""

    delimiter: str | None = None  # one character; None: told by the header
    quotes: bool = True  # False reads double quotes as ordinary characters, as GLUE's TSV files need it


def read_delimited(path: Path, wanted: Mapping[str, str], dialect: Dialect, usual: str) -> Table:
    """Read columns of a file whose first line that is not blank names them; ``usual`` is its suffix's delimiter.

    Raises:
        ValueError: If a column or a field is missing, or a row is broken; the message says in which line.
    """
    with _long_fields():
        found = dialect.delimiter or _detect(path, wanted, dialect, usual)
        rows = _Rows(path, Dialect(found, dialect.quotes))
        header = next(rows, [])
        if header:
            require_columns(header, wanted, path, _hint(header, wanted, found, dialect, usual))
        places = {name: header.index(name) for name in wanted if header}
        columns: dict[str, list[Any]] = {name: [] for name in wanted}
        lines = []
        for fields in rows:
            if len(fields) != len(header):
                raise ValueError(
                    f"{path}, line {rows.line}: expected {len(header)} fields as in the header, got {len(fields)}; a "
                    f"field that holds {shown(found)} or a line break must stand in double quotes"
                )
            lines.append(rows.line)
            for name, place in places.items():
                columns[name].append(fields[place])
    return Table(path, columns, lines)


class _Rows(Iterator[list[str]]):
    """Rows of fields without the blank lines; ``line`` is where the last one began."""

    def __init__(self, path: Path, dialect: Dialect) -> None:
        self.path, self.dialect, self.line = path, dialect, 0
        self._rows = csv.reader(
            (text for _, text in text_lines(path)),
            delimiter=str(dialect.delimiter),
            quoting=csv.QUOTE_MINIMAL if dialect.quotes else csv.QUOTE_NONE,
            strict=True,
        )

    def __next__(self) -> list[str]:
        fields: list[str] = []
        while not fields or (len(fields) == 1 and not fields[0].strip()):  # two columns or more are always wanted
            self.line = self._rows.line_num + 1
            try:
                fields = next(self._rows)
            except csv.Error as error:
                hint = " (data.quotes=false reads quotes as ordinary characters)" if self.dialect.quotes else ""
                why = f"{error}{_BROKEN.get(str(error), '')}{hint}"
                raise ValueError(f"{self.path}, line {self.line}: broken row: {why}") from error
        return fields


def _detect(path: Path, wanted: Mapping[str, str], dialect: Dialect, usual: str) -> str:
    """Return the delimiter that finds all columns in the header, the suffix's first; else that which finds most."""
    headers = {}
    for delimiter in sorted(DELIMITERS.values(), key=lambda each: each != usual):
        headers[delimiter] = _header(path, Dialect(delimiter, dialect.quotes))
        if set(wanted) <= set(headers[delimiter]):
            return delimiter
    return max(headers, key=lambda delimiter: len(headers[delimiter]))


def _header(path: Path, dialect: Dialect) -> list[str]:
    """Return the header as it reads with a delimiter; none where that breaks it."""
    rows = _Rows(path, dialect)
    try:
        return next(rows, [])
    except ValueError as error:
        if isinstance(error.__cause__, csv.Error):
            return []
        raise


def _hint(header: Sequence[str], wanted: Mapping[str, str], found: str, dialect: Dialect, usual: str) -> str:
    """Say what may be wrong with a header that lacks a column."""
    if header[0].startswith(("{", "[")):
        return "; is it JSON? Then name it .jsonl, with one object a line"
    others = [name for name, delimiter in DELIMITERS.items() if delimiter in header[0]]
    if dialect.delimiter and len(header) == 1 and others:
        return f"; the header has no {shown(found)}: is the file separated otherwise? Say data.delimiter={others[0]}"
    if not set(wanted) & set(header):
        delimiter = ", and data.delimiter what separates them" if len(header) == 1 else ""
        return f"; the first line must name the columns{delimiter}"
    return f"; the file is separated by {shown(found)}" if found != usual else ""


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let fields have any length: by default those over 128 KiB are refused."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
