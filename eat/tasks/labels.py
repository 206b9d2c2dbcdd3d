"""Read the labels of a user's file: names of classes, or scores, each checked with the place where it stands."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from eat.tasks.tables import Table


def class_names(table: Table, column: str) -> list[str]:
    """Return the class name of every row: text without surrounding space, integers and booleans as written."""
    values = _present(table, column)
    names = []
    for row, value in enumerate(values):
        if isinstance(value, float) and value.is_integer():  # integers that once shared a column with NaN
            value = int(value)
        if not isinstance(value, str | bool | int):
            raise ValueError(
                f"data.label: {table.path}, {table.place(row)}: expected text, an integer or true/false in column "
                f"{column!r}, got {value!r}; for scores say data.kind=regression"
            )
        names.append(str(value).strip())
    return names


def scores(table: Table, column: str) -> list[float]:
    """Return the score of every row."""
    result = []
    for row, value in enumerate(_present(table, column)):
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(
                f"data.label: {table.path}, {table.place(row)}: data.kind=regression expects a finite number in "
                f"column {column!r}, got {value!r}"
            )
        result.append(number)
    return result


def sorted_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct names, by number where all are numbers, else by character."""
    distinct = sorted(set(names))
    try:
        return tuple(sorted(distinct, key=float))
    except ValueError:
        return tuple(distinct)


def number_classes(names: Sequence[str], known: Sequence[str], table: Table, column: str) -> list[int]:
    """Return each row's class number; a name that training does not know is an error."""
    number = {name: index for index, name in enumerate(known)}
    unknown = [row for row, name in enumerate(names) if name not in number]
    if unknown:
        first, more = unknown[0], f" and {len(known) - 20} more" if len(known) > 20 else ""
        raise ValueError(
            f"data.label: {table.path}: {len(unknown)} rows have a label in column {column!r} that training does not "
            f"know, the first in {table.place(first)}: {names[first]!r}; training has {list(known[:20])}{more}"
        )
    return [number[name] for name in names]


def _present(table: Table, column: str) -> list[Any]:
    values = table.columns[column]
    missing = [row for row, value in enumerate(values) if is_missing(value)]
    if missing:
        raise ValueError(
            f"data.label: {table.path}: {len(missing)} of {len(values)} rows have no label in column {column!r} "
            f"(empty, null or NaN), the first in {table.place(missing[0])}"
        )
    return values


def is_missing(value: Any) -> bool:
    """Tell empty text, null and NaN, also as a word."""
    if isinstance(value, str):
        return value.strip().lower() in ("", "nan")
    return value is None or (isinstance(value, float) and math.isnan(value))
