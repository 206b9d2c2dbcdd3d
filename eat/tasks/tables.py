"""Read a user's own file strictly: CSV, TSV, JSONL or Parquet into columns, each row with its line."""

import csv
import difflib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet
from pyarrow import ArrowException


@dataclass(frozen=True)
class Table:
    """Columns of a file."""

    path: Path  # the file
    columns: Mapping[str, list[Any]]  # name -> a value per row, as the file's format gives it; None where there is none
    lines: Sequence[int]  # where each row begins: the line in a text file, the row in Parquet, both from 1

    def place(self, row: int) -> str:
        """Say where a row stands."""
        return f"{'row' if self.path.suffix.lower() == '.parquet' else 'line'} {self.lines[row]}"


def read_table(path: str | Path, wanted: Mapping[str, str], *, option: str, quotes: bool = True) -> Table:
    """Read some columns of a file; its format is told by its suffix.

    Text files are UTF-8, with or without a byte-order mark. CSV and TSV have a header line; fields that hold the
    delimiter or a line break stand in double quotes, a quote inside is doubled (RFC 4180); without ``quotes`` these are
    ordinary characters, as GLUE's TSV files need it. Blank lines are skipped. ``wanted`` are the columns, and what
    names each (``{"body": "data.text"}``), ``option`` is what names the file (``"data.train"``).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty, broken, not UTF-8, or lacks a column.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{option}: no file {str(path)!r} (looked for {path.absolute()})")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{option}: expected a file ending in {', '.join(_READERS)}, got {path.name!r}")
    if path.stat().st_size == 0:
        raise ValueError(f"{option}: {path} is empty")
    table = reader(path, wanted, quotes)
    if not table.lines:
        raise ValueError(f"{option}: {path} has no rows")
    return table


def _read_delimited(path: Path, wanted: Mapping[str, str], quotes: bool, delimiter: str) -> Table:
    limit_before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default refuses texts over 128 KiB
    rows = csv.reader(
        (text for _, text in _text_lines(path)),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        strict=True,
    )
    line = 0
    try:
        header = next(rows, [])
        line = rows.line_num
        _require_columns(header, wanted, path)
        places = {name: header.index(name) for name in wanted}
        columns: dict[str, list[Any]] = {name: [] for name in places}
        lines = []
        for fields in rows:
            if fields and len(fields) != len(header):
                raise ValueError(
                    f"{path}, line {line + 1}: expected {len(header)} fields as in the header, got {len(fields)}; a "
                    f"field that holds {delimiter!r} or a line break must stand in double quotes"
                )
            if fields:
                lines.append(line + 1)
                for name, place in places.items():
                    columns[name].append(fields[place])
            line = rows.line_num
    except csv.Error as error:
        hint = " (data.quotes=false reads quotes as ordinary characters)" if quotes else ""
        raise ValueError(f"{path}, line {line + 1}: broken row: {error}{hint}") from error
    finally:
        csv.field_size_limit(limit_before)
    return Table(path, columns, lines)


def _read_jsonl(path: Path, wanted: Mapping[str, str], quotes: bool) -> Table:
    available: dict[str, None] = {}
    rows, lines = [], []
    for line, text in _text_lines(path):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {line}: broken JSON: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {line}: expected a JSON object, got {type(row).__name__}")
        available.update(dict.fromkeys(row))
        rows.append({name: row.get(name) for name in wanted})
        lines.append(line)
    if rows:
        _require_columns(list(available), wanted, path)
    return Table(path, {name: [row[name] for row in rows] for name in wanted}, lines)


def _read_parquet(path: Path, wanted: Mapping[str, str], quotes: bool) -> Table:
    try:
        _require_columns(pyarrow.parquet.read_schema(path).names, wanted, path)
        table = pyarrow.parquet.read_table(path, columns=list(wanted))
        columns = {name: table.column(name).to_pylist() for name in wanted}
    except (ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as Parquet ({error})") from error
    return Table(path, columns, range(1, table.num_rows + 1))


_READERS: Mapping[str, Callable[[Path, Mapping[str, str], bool], Table]] = {
    ".csv": partial(_read_delimited, delimiter=","),
    ".tsv": partial(_read_delimited, delimiter="\t"),
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}


def _text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, line with its end), decoded line by line so that an error knows where it is."""
    position = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}, line {number}: not UTF-8: byte 0x{raw[error.start]:02x} at position "
                    f"{position + error.start} of the file; save the file as UTF-8"
                ) from error
            position += len(raw)
            yield number, text.removeprefix("\ufeff") if number == 1 else text


def _require_columns(available: Sequence[str], wanted: Mapping[str, str], path: Path) -> None:
    repeated = sorted({name for name in available if list(available).count(name) > 1})
    if repeated:
        raise ValueError(f"{path}: column names must differ, {repeated} stand there more than once")
    for name, option in wanted.items():
        if name not in available:
            close = difflib.get_close_matches(name, available, n=1)
            hint = f" (did you mean {option}={close[0]}?)" if close else ""
            raise ValueError(f"{option}: {path} has no column {name!r}; it has {list(available)}{hint}")
