"""Read the rows to predict one after the other, in bounded memory, whatever the size of the file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from eat.checks import shown
from eat.deployment.prediction.places import Input
from eat.tasks.formats import DELIMITED, Dialect
from eat.tasks.formats.delimited import DelimitedRows, long_fields
from eat.tasks.formats.json_lines import parse_object
from eat.tasks.formats.parquet import open_parquet, unreadable
from eat.tasks.formats.table import require_columns
from eat.tasks.formats.text_lines import Binary, BrokenRowError, TextLines, opened
from eat.tasks.texts import is_no_text, why_no_text

T = TypeVar("T")
Columns = dict[str, Any]
TextColumns = Sequence[Sequence[str]]
"""Of each text the columns that it is joined of."""

LONGEST = 64 << 20  # bytes of a line, and of a row in quotes: more is taken for a file that is broken
_FIRST = 1000  # rows of JSON that say which columns there are
_AT_ONCE = 1024  # rows of Parquet that are decoded together


@dataclass(frozen=True)
class Row:
    """A row to predict."""

    place: str  # where it stands, for messages
    texts: tuple[str, ...] | None  # the text, or both of a pair; None where the row cannot be read
    kept: tuple[Any, ...]  # values of the columns that are carried over; None each where the row cannot be read
    why: str | None = None  # why it cannot be read


WITH_COLUMNS = ("csv", "tsv", "parquet")
"""Kinds that name their columns where there is no row, as empty shards of a job do."""


@dataclass(frozen=True)
class Source:
    """An open file, or standard input."""

    rows: Iterator[Row]
    share_read: Callable[[], float | None]  # in [0, 1]; None where the size is not known
    kept_types: Mapping[str, pa.DataType]  # of the columns carried over, where the file knows types


@contextmanager
def open_source(
    given: Input, text_columns: TextColumns, keep: Sequence[str], dialect: Dialect, separator: str = " "
) -> Iterator[Source]:
    """Open what is to be predicted; what is wrong with it as a whole is said before any row is answered.

    Args:
        given: What is read, and of which kind it is.
        text_columns: The columns that the text is joined of, and those of the second one of a pair.
        keep: Columns that are carried over.
        dialect: How CSV and TSV are written.
        separator: What stands between joined texts.

    Raises:
        ValueError: If a column is missing, or the file is not of this kind; later, from ``rows``, if a quote never
            closes or a line has no end.
    """
    wanted = dict.fromkeys(keep, "keep")
    for option, columns in zip(("text", "text_pair"), text_columns, strict=False):
        wanted |= dict.fromkeys(columns, option)
    path, kind = given.path or Path("standard input"), given.kind
    with ExitStack() as stack:
        types: dict[str, pa.DataType] = {}
        with _named(wanted):
            if kind == "parquet":
                file = stack.enter_context(open_parquet(path, wanted))
                types = {name: file.schema_arrow.field(name).type for name in keep}
                place = _Place(0, max(1, file.metadata.num_rows))
                found = _parquet(path, file, list(wanted), place)
            else:
                binary: Binary = sys.stdin.buffer if given.path is None else stack.enter_context(opened(path))
                stack.enter_context(long_fields(LONGEST))
                lines = TextLines(binary, path, LONGEST)
                found = _TEXT[kind](lines, wanted, dialect)
                place = _Place(lines, given.size or 1)
            first = list(islice(found, 1))  # which reads the header
        if not first and kind not in WITH_COLUMNS:
            raise ValueError(f"input: {path} has no rows")
        word = "row" if kind == "parquet" else "line"
        rows = _rows(chain(first, found), path, word, text_columns, keep, separator)
        yield Source(rows, place.share if given.size is not None else lambda: None, types)


@contextmanager
def _named(wanted: Mapping[str, str]) -> Iterator[None]:
    """Let messages begin with the option that they are about."""
    try:
        yield
    except ValueError as error:
        named = str(error).startswith(tuple(f"{option}: " for option in wanted.values()))
        raise ValueError(str(error) if named else f"input: {error}") from error


@dataclass
class _Place:
    """How far a file was read."""

    read: int | TextLines
    size: int

    def share(self) -> float:
        return min(1.0, (self.read.position if isinstance(self.read, TextLines) else self.read) / self.size)


Found = Iterator[tuple[int, Columns | BrokenRowError]]
"""The number of each line or row, and the columns that are wanted of it, or why it cannot be read."""


def _delimited(lines: TextLines, wanted: Mapping[str, str], dialect: Dialect, usual: str) -> Found:
    rows = DelimitedRows(lines, wanted, dialect, usual)
    for row in _attempts(rows):
        yield rows.line, row


def _json_lines(lines: TextLines, wanted: Mapping[str, str], dialect: Dialect) -> Found:
    """Yield objects; a key that none of the first has is a missing column, later ones may lack it."""
    found = _objects(lines, wanted)
    first = list(islice(found, _FIRST))
    rows = [row for _, row in first if not isinstance(row, BrokenRowError)]
    if first and not rows:
        raise ValueError(f"no row can be read: {first[0][1]}")
    if rows:
        require_columns(list(dict.fromkeys(chain.from_iterable(rows))), wanted, lines.path)
    for number, row in chain(first, found):
        yield number, row if isinstance(row, BrokenRowError) else {name: row.get(name) for name in wanted}


def _objects(lines: TextLines, wanted: Mapping[str, str]) -> Found:
    for line in _attempts(lines):
        if isinstance(line, BrokenRowError):
            yield lines.number, line
        elif line.strip():
            try:
                yield lines.number, parse_object(line, wanted, f"{lines.path}, line {lines.number}")
            except BrokenRowError as error:
                yield lines.number, error


def _plain(lines: TextLines, wanted: Mapping[str, str], dialect: Dialect) -> Found:
    require_columns(["text"], wanted, lines.path, "; lines of plain text have no other")
    for line in _attempts(lines):
        yield lines.number, line if isinstance(line, BrokenRowError) else {"text": line.rstrip("\r\n")}


_TEXT: Mapping[str, Callable[[TextLines, Mapping[str, str], Dialect], Found]] = {
    "csv": partial(_delimited, usual=DELIMITED[".csv"]),
    "tsv": partial(_delimited, usual=DELIMITED[".tsv"]),
    "jsonl": _json_lines,
    "text": _plain,
}


def _parquet(path: Path, file: Any, wanted: Sequence[str], place: _Place) -> Found:
    number = 0
    with unreadable(path):
        for batch in file.iter_batches(batch_size=_AT_ONCE, columns=list(wanted)):
            columns = [batch.column(name).to_pylist() for name in wanted]
            for values in zip(*columns, strict=True):
                number += 1
                place.read = number
                yield number, dict(zip(wanted, values, strict=True))


def _attempts(rows: Iterator[T]) -> Iterator[T | BrokenRowError]:
    """Yield rows, and of those that cannot be read the error."""
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except BrokenRowError as error:
            yield error


def _rows(
    found: Found, path: Path, word: str, text_columns: TextColumns, keep: Sequence[str], separator: str
) -> Iterator[Row]:
    for number, values in found:
        place = f"{path}, {word} {number}"
        if isinstance(values, BrokenRowError):
            yield Row(place, None, (None,) * len(keep), str(values))
            continue
        kept = tuple(values[name] for name in keep)
        why = next(filter(None, (_why_no_text(values[name], name) for name in chain(*text_columns))), None)
        if why is None:
            texts = (separator.join(str(values[name]) for name in columns) for columns in text_columns)
            yield Row(place, tuple(texts), kept)
        else:
            yield Row(place, None, kept, f"{place}: {why}")


def _why_no_text(value: Any, column: str) -> str | None:
    return f"no text in column {shown(column)} (null)" if is_no_text(value) else why_no_text(value, column)
