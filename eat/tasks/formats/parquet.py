"""Parquet, with the class names that are stored beside the values."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eat.checks import one_line, shown
from eat.tasks.formats.table import Table, require_columns

_HUGGING_FACE = b"huggingface"
_OF_ANY_TYPE = ("data.group_by", "keep")  # options that compare values, or pass them on
_UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError)


def read_parquet(path: Path, wanted: Mapping[str, str]) -> Table:
    """Read columns; class numbers with stored names, and dictionaries (pandas categoricals), become names.

    Names are stored in order as a ``ClassLabel`` in the metadata that `datasets` writes, or as Arrow's dictionary.

    Raises:
        ValueError: If the file is broken, or a column is missing or of a type that holds neither text nor label.
    """
    with open_parquet(path, wanted) as file, unreadable(path):
        table = file.read(columns=list(wanted))
        columns = {name: table.column(name).to_pylist() for name in wanted}
    stored = {}
    for name in wanted:
        dictionary = _dictionary(table.column(name))
        names = _class_label_names(table.schema, name, path)
        kind, where = table.schema.field(name).type, f"{path}: column {shown(name)}"
        if names is not None and pa.types.is_integer(kind):
            columns[name] = _named(columns[name], names, where)
            stored[name] = names
        elif names is not None and pa.types.is_nested(kind) and pa.types.is_integer(kind.value_type):
            columns[name] = [None if row is None else _named(row, names, where) for row in columns[name]]
            stored[name] = names
        elif dictionary is not None:
            stored[name] = dictionary
    return Table(path, columns, range(1, table.num_rows + 1), stored, unit="row")


def open_parquet(path: Path, wanted: Mapping[str, str]) -> pq.ParquetFile:
    """Open a file that has the columns, of types that hold texts or labels where the option wants those.

    Raises:
        ValueError: If it is broken, or a column is missing or of another type.
    """
    with unreadable(path):
        file = pq.ParquetFile(path)
        available = file.schema_arrow.names
    require_columns(available, wanted, path)
    for name, option in wanted.items():
        if option not in _OF_ANY_TYPE:
            place = f"{option}: {path}: column {shown(name)}"
            _check_type(file.schema_arrow.field(name).type, place, lists=option == "data.label")
    return file


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Say of whatever a broken file makes the library raise that it is not readable."""
    try:
        yield
    except _UNREADABLE as error:
        raise ValueError(f"{path}: not readable as Parquet ({one_line(error)})") from error


def _check_type(kind: pa.DataType, where: str, lists: bool = False) -> None:
    if lists and (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        kind = kind.value_type
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_text = pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)
    is_number = pa.types.is_integer(value) or pa.types.is_floating(value) or pa.types.is_decimal(value)
    if not (is_text or is_number or pa.types.is_boolean(value) or pa.types.is_null(value)):
        raise ValueError(f"{where} holds {kind}, expected text or numbers; cast it to a string where it is text")


def _dictionary(column: pa.ChunkedArray) -> tuple[str, ...] | None:
    """Return the texts of a dictionary column in its order; None for other columns, and where they are no texts."""
    if not pa.types.is_dictionary(column.type) or not column.num_chunks:
        return None
    values = column.unify_dictionaries().chunk(0).dictionary.to_pylist()
    return tuple(values) if values and all(isinstance(value, str) for value in values) else None


def _class_label_names(schema: pa.Schema, column: str, path: Path) -> tuple[str, ...] | None:
    """Return the names of a ``ClassLabel`` column, in label order; None where none are stored."""
    text = (schema.metadata or {}).get(_HUGGING_FACE)
    try:
        feature = {} if text is None else json.loads(text)["info"]["features"].get(column, {})
        feature = feature.get("feature", feature)  # of a list, that of its values
        names = feature["names"] if feature.get("_type") == "ClassLabel" else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: the features stored in its metadata are broken ({error!r})") from error
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(
            f"{path}: expected different class names stored with column {shown(column)}, got {shown(names)}"
        )
    return tuple(names)


def _named(numbers: Sequence[Any], names: Sequence[str], where: str) -> list[str | None]:
    """Return the name of each class number; -1, as the library writes a row without label, has none."""
    for row, number in enumerate(numbers, start=1):
        if number is not None and not -1 <= number < len(names):
            raise ValueError(f"{where}, row {row}: expected a class number below {len(names)} or null, got {number}")
    return [None if number is None or number == -1 else names[number] for number in numbers]
