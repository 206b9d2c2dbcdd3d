"""Write answered rows: each window as a part, and the parts together as one file."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP = 65_536  # rows of Parquet that readers decode together
Values = Sequence[Any]
"""A row: the columns carried over, then ours; None where there is no answer."""


@runtime_checkable
class OutputFormat(Protocol):
    """How rows are written."""

    def write(self, rows: Sequence[Values], path: Path) -> None:
        """Write the rows of a window as a part."""

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Write the rows of all parts as one file, in bounded memory."""


class TextFormat:
    """CSV or JSON lines, in UTF-8; half a surrogate pair, which JSON may hold, is written as its escape."""

    def __init__(self, names: Sequence[str], types: Mapping[str, pa.DataType]) -> None:
        self.names = names

    def head(self) -> bytes:
        """Return what a file begins with."""
        return b""

    def body(self, rows: Iterable[Values]) -> bytes:
        """Return rows."""
        raise NotImplementedError

    def write(self, rows: Sequence[Values], path: Path) -> None:
        """Write rows as a part, without the head."""
        path.write_bytes(self.body(rows))

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Write the head and all parts."""
        with path.open("wb") as whole:
            whole.write(self.head())
            for part in parts:
                with part.open("rb") as file:
                    shutil.copyfileobj(file, whole, 1 << 20)


class CsvFormat(TextFormat):
    """CSV with a header (RFC 4180, lines end in LF); no answer is an empty field."""

    def head(self) -> bytes:
        """Return the header."""
        return self.body([self.names])

    def body(self, rows: Iterable[Values]) -> bytes:
        """Return rows; what is no text and no number is written as JSON."""
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([_text(value) for value in row] for row in rows)
        return _encoded(text.getvalue())


class JsonLinesFormat(TextFormat):
    """JSON lines, an object a row; no answer is null."""

    def body(self, rows: Iterable[Values]) -> bytes:
        """Return rows."""
        return _encoded("".join(f"{_json(dict(zip(self.names, row, strict=True)))}\n" for row in rows))


class ParquetFormat:
    """Parquet; columns carried over keep the types that they have in Parquet, all others are text."""

    def __init__(self, names: Sequence[str], types: Mapping[str, pa.DataType]) -> None:
        self.schema = pa.schema([(name, types.get(name, pa.string())) for name in names])
        self._typed = [name in types for name in names]

    def write(self, rows: Sequence[Values], path: Path) -> None:
        """Write rows as a part."""
        columns = [
            values if typed else [None if value is None else _encoded(str(_text(value))).decode() for value in values]
            for typed, values in zip(self._typed, zip(*rows, strict=True), strict=True)
        ]
        arrays = [pa.array(values, type=field.type) for values, field in zip(columns, self.schema, strict=True)]
        pq.write_table(pa.Table.from_arrays(arrays, schema=self.schema), path)

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Write the rows of all parts, in groups of `ROW_GROUP` or a little more."""
        with pq.ParquetWriter(path, self.schema) as writer:
            waiting: list[pa.Table] = []
            for place, part in enumerate(parts):
                with pq.ParquetFile(part) as file:
                    waiting.append(file.read())
                if sum(map(len, waiting)) >= ROW_GROUP or place == len(parts) - 1:
                    table = pa.concat_tables(waiting)
                    writer.write_table(table, row_group_size=len(table))
                    waiting = []


FORMATS: Mapping[str, Callable[[Sequence[str], Mapping[str, pa.DataType]], OutputFormat]] = {
    "csv": CsvFormat,
    "jsonl": JsonLinesFormat,
    "parquet": ParquetFormat,
}
"""Name -> what writes columns of these names and, where they are known, types."""


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=_plain, allow_nan=False)
    except ValueError:  # JSON has no NaN and no infinity
        return json.dumps(_without_nan(value), ensure_ascii=False, default=_plain)


def _plain(value: Any) -> str:
    """Return what JSON has no type for as text: bytes in base64, and others, such as dates, as they are written."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _without_nan(value: Any) -> Any:
    """Return a value with null in the place of every number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _without_nan(one) for key, one in value.items()}
    return [*map(_without_nan, value)] if isinstance(value, list | tuple) else value


def _text(value: Any) -> Any:
    """Return what is no text and no number as JSON writes it, dates and the like without quotes."""
    if isinstance(value, bool | list | tuple | dict):
        return _json(value)
    return value if value is None or isinstance(value, str | int | float) else _plain(value)
