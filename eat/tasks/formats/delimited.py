"""Delimited text, CSV and TSV: the delimiter is told by the header unless it is given."""

import csv
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from eat.checks import shown
from eat.tasks.formats.table import Table, require_columns
from eat.tasks.formats.text_lines import BrokenRowError, TextLines, opened

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
"""Those that a header is tried with, by the names that a shell needs no quotes for."""

_BROKEN = {"unexpected end of data": ": a double quote opens here and never closes"}
_MAX_HEADER = 1000  # lines that a header may have: names in quotes may hold line breaks


@dataclass(frozen=True)
class Dialect:
    """How a file with a delimiter is written."""

    delimiter: str | None = None  # one character; None: told by the header
    quotes: bool = True  # False reads double quotes as ordinary characters, as GLUE's TSV files need it
    options: str = "data."  # what the options that say so begin with, for messages


def read_delimited(path: Path, wanted: Mapping[str, str], dialect: Dialect, usual: str) -> Table:
    """Read columns of a file whose first line that is not blank names them; ``usual`` is its suffix's delimiter.

    Raises:
        ValueError: If a column or a field is missing, or a row is broken; the message says in which line.
    """
    with opened(path) as file, long_fields():
        rows = DelimitedRows(TextLines(file, path), wanted, dialect, usual)
        columns: dict[str, list[Any]] = {name: [] for name in wanted}
        lines = []
        for row in rows:
            lines.append(rows.line)
            for name, value in row.items():
                columns[name].append(value)
    return Table(path, columns, lines)


class DelimitedRows(Iterator[dict[str, str]]):
    """Rows of a file with a delimiter, without the blank lines, each as the columns that are wanted.

    Where there is but one column, an empty field in quotes, as other tools write it, and a line of spaces are rows.

    Attributes:
        line: Where the last row began.

    Raises:
        BrokenRowError: From ``next``, if a row is broken; those behind it can be read.
        ValueError: If a column is missing; from ``next``, if a quote never closes, so that nobody knows where rows end.
    """

    def __init__(self, lines: TextLines, wanted: Mapping[str, str], dialect: Dialect, usual: str) -> None:
        found = dialect.delimiter or _detect(lines, wanted, dialect, usual)
        self.line = 0
        self._lines, self._dialect = lines, Dialect(found, dialect.quotes, dialect.options)
        self._rows = _reader(lines, self._dialect)
        self._width: int | None = None  # until the header is read
        try:
            header = self._next_fields()
        except StopIteration:
            header = []
        if header:
            require_columns(header, wanted, lines.path, _hint(header, wanted, found, dialect, usual))
        self._places = {name: header.index(name) for name in wanted if header}
        self._width = len(header)

    def __next__(self) -> dict[str, str]:
        fields = self._next_fields()
        if len(fields) != self._width:
            raise BrokenRowError(
                f"{self._lines.path}, line {self.line}: expected {self._width} fields as in the header, got "
                f"{len(fields)}; a field that holds {shown(self._dialect.delimiter)} or a line break must stand in "
                "double quotes"
            )
        return {name: fields[place] for name, place in self._places.items()}

    def _next_fields(self) -> list[str]:
        fields: list[str] = []
        while not fields or (self._width != 1 and len(fields) == 1 and not fields[0].strip()):
            self.line = self._lines.number + 1
            try:
                fields = next(self._rows)
            except csv.Error as error:
                raise self._broken(error) from error
        return fields

    def _broken(self, error: csv.Error) -> ValueError:
        quotes = self._dialect.quotes
        hint = f" ({self._dialect.options}quotes=false reads quotes as ordinary characters)" if quotes else ""
        endless = str(error) in _BROKEN or str(error).startswith("field larger")
        why = f"{error}{_BROKEN.get(str(error), '')}{hint}"
        return (ValueError if endless else BrokenRowError)(f"{self._lines.path}, line {self.line}: broken row: {why}")


def _reader(lines: Iterable[str], dialect: Dialect) -> Iterator[list[str]]:
    return csv.reader(
        lines,
        delimiter=str(dialect.delimiter),
        quoting=csv.QUOTE_MINIMAL if dialect.quotes else csv.QUOTE_NONE,
        strict=True,
    )


def _detect(lines: TextLines, wanted: Mapping[str, str], dialect: Dialect, usual: str) -> str:
    """Return the delimiter that finds all columns in the header, the suffix's first; else that which finds most."""
    first = _first_lines(lines, dialect.quotes)
    headers = {}
    for delimiter in sorted(DELIMITERS.values(), key=lambda each: each != usual):
        headers[delimiter] = _header(first, Dialect(delimiter, dialect.quotes))
        if set(wanted) <= set(headers[delimiter]):
            return delimiter
    return max(headers, key=lambda delimiter: len(headers[delimiter]))


def _first_lines(lines: TextLines, quotes: bool) -> list[str]:
    """Return the lines that hold the header, and let them come once more."""
    first: list[str] = []
    for line in islice(lines, _MAX_HEADER):
        first.append(line)
        if line.strip() and not (quotes and sum(each.count('"') for each in first) % 2):
            break
    lines.put_back(first)
    return first


def _header(first: Sequence[str], dialect: Dialect) -> list[str]:
    """Return the header as it reads with a delimiter; none where that breaks it."""
    try:
        return next((fields for fields in _reader(first, dialect) if any(map(str.strip, fields))), [])
    except csv.Error:
        return []


def _hint(header: Sequence[str], wanted: Mapping[str, str], found: str, dialect: Dialect, usual: str) -> str:
    """Say what may be wrong with a header that lacks a column."""
    if header[0].startswith(("{", "[")):
        return "; is it JSON? Then name it .jsonl, with one object a line"
    others = [name for name, delimiter in DELIMITERS.items() if delimiter in header[0]]
    if dialect.delimiter and len(header) == 1 and others:
        option = f"{dialect.options}delimiter={others[0]}"
        return f"; the header has no {shown(found)}: is the file separated otherwise? Say {option}"
    if not set(wanted) & set(header):
        delimiter = f", and {dialect.options}delimiter what separates them" if len(header) == 1 else ""
        return f"; the first line must name the columns{delimiter}"
    return f"; the file is separated by {shown(found)}" if found != usual else ""


@contextmanager
def long_fields(longest: int = 2**31 - 1) -> Iterator[None]:
    """Let fields have so many characters: by default those over 128 KiB are refused."""
    before = csv.field_size_limit(min(sys.maxsize, longest))
    try:
        yield
    finally:
        csv.field_size_limit(before)
