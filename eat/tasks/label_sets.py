"""Read the labels of a multi-label task: columns of 0 and 1, or one column with the names of what applies."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from eat.checks import closest, shown
from eat.tasks.formats import Table
from eat.tasks.formats.table import listed
from eat.tasks.labels import NO_LABEL, canonical_name, is_missing, refuse_two_spellings, sorted_names

YES, NO = ("1", "true"), ("0", "false")
Sets = list[list[float]]
"""For each row 1 or 0 for each label, as Hugging Face's losses take them."""

_log = logging.getLogger(__name__)


def labelled_rows(table: Table, columns: Sequence[str], unlabelled: str) -> Table:
    """Return the rows whose labels are known: without a null, in columns of 0 and 1 also without an empty field or -1.

    In one column of names an empty field, as an empty list, says that no label applies.

    Raises:
        ValueError: If some are not and ``unlabelled`` is not ``"drop"``, or all are not.
    """
    if len(columns) > 1:
        marks = unlabelled != "keep"

        def unknown(value: Any) -> bool:
            return is_missing(value) or (marks and canonical_name(str(value)) == NO_LABEL)
    else:

        def unknown(value: Any) -> bool:
            return not isinstance(value, str) and is_missing(value)

    rows = range(len(table.lines))
    missing = {row: column for column in columns for row in rows if unknown(table.columns[column][row])}
    if not missing:
        return table
    first = min(missing)
    if unlabelled != "drop" or len(missing) == len(rows):
        where = f"the first in {table.place(first)}, column {shown(missing[first])}"
        raise ValueError(
            f"data.label: {table.path}: {len(missing)} of {len(rows)} rows lack a label (null; of 0, 1: empty or -1), "
            f"{where}" + ("" if unlabelled == "drop" else "; data.unlabelled=drop leaves them out")
        )
    _log.info("%s: %d of %d rows have no label and are left out", table.path, len(missing), len(rows))
    return table.taken([row for row in rows if row not in missing])


def sets_of_columns(tables: Mapping[str, Table], columns: Sequence[str]) -> dict[str, Sets]:
    """Read a column for each label: 0 or 1, false or true.

    Raises:
        ValueError: If a value is another, with the place where it stands.
    """
    sets = {}
    for split, table in tables.items():
        by_label = [[_yes_or_no(table, column, row) for row in range(len(table.lines))] for column in columns]
        sets[split] = [list(row) for row in zip(*by_label, strict=True)]
    return sets


def sets_of_names(
    tables: Mapping[str, Table], column: str, separator: str, given: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, Sets]]:
    """Read a column that names what applies to each row: a list, also as JSON, or text with a separator between names.

    Args:
        tables: Each split's file.
        column: The column.
        separator: What stands between the names in text.
        given: ``data.label_names``: all labels in their order; none for those of the training file, sorted.

    Returns:
        The labels in their order, and each split's rows.

    Raises:
        ValueError: If a value names nothing that can be a label, training does not know a label, or there is only one.
    """
    named = {
        split: [_names(table, column, row, separator) for row in range(len(table.lines))]
        for split, table in tables.items()
    }
    train = tables["train"]
    stored = _stored_names(train, column, separator)
    known = tuple(given or stored or sorted_names(name for names in named["train"] for name in names))
    if len(known) < 2:
        raise ValueError(
            f"data.label: {train.path}: expected two labels or more in column {shown(column)}, got {listed(known)}; "
            f"one that applies or not is a task of two classes, and data.label_separator={separator!r} parts the names"
        )
    if not given:
        _check_spellings(tables, named)
    number = {name: index for index, name in enumerate(known)}
    return known, {
        split: [_row(names, number, table, row, column) for row, names in enumerate(named[split])]
        for split, table in tables.items()
    }


def warn_of_constant_labels(names: Sequence[str], sets: Sets, path: Any) -> None:
    """Warn of labels that all training rows have, or none: nothing can be learned of them."""
    times = [sum(column) for column in zip(*sets, strict=True)]
    constant = [name for name, count in zip(names, times, strict=True) if count in (0, len(sets))]
    if constant:
        _log.warning("data.label: %s: all rows, or none, have %s: nothing can be learned there", path, listed(constant))


def _yes_or_no(table: Table, column: str, row: int) -> float:
    value = table.columns[column][row]
    written = canonical_name(str(value)).lower()
    if not isinstance(value, str | int | float) or written not in (*YES, *NO):
        raise ValueError(
            f"data.label: {table.path}, {table.place(row)}: expected 0 or 1 in column {shown(column)}, as data.label "
            f"names several columns, got {shown(value)}"
        )
    return float(written in YES)


def _stored_names(table: Table, column: str, separator: str) -> list[str]:
    """Return the names that a file stores with a column of lists, or of text where each is one name.

    Categories of text may be whole cells, such as "a,b", which say nothing of labels and their order.
    """
    stored = table.stored_names.get(column, ())
    names = list(dict.fromkeys(map(canonical_name, stored)))
    in_lists = any(isinstance(value, list) for value in table.columns[column])
    return names if in_lists or all(_parts(name, separator) == [name] for name in stored) else []


def _names(table: Table, column: str, row: int, separator: str) -> list[str]:
    value = table.columns[column][row]
    parts = _parts(value, separator)
    if not isinstance(parts, list) or any(isinstance(part, bool) or not isinstance(part, str | int) for part in parts):
        raise ValueError(
            f"data.label: {table.path}, {table.place(row)}: expected names with {shown(separator)} between them, "
            f"or a list of names as JSON has it, in column {shown(column)}, got {shown(value)}"
        )
    return [canonical_name(str(part)) for part in parts]


def _parts(value: Any, separator: str) -> Any:
    """Return the names in a cell, a list where it is as it must be."""
    parts = value
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            parts = json.loads(value)
        except ValueError:
            parts = None
    elif isinstance(value, str):
        parts = [part for part in value.split(separator) if part.strip()]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        parts = [value]
    return parts


def _check_spellings(tables: Mapping[str, Table], named: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Refuse names that are one value written in two ways, in rows of one name each."""
    rows = {split: [row for row, names in enumerate(sets) for _ in names] for split, sets in named.items()}
    flat = {split: [name for names in sets for name in names] for split, sets in named.items()}
    refuse_two_spellings({split: table.taken(rows[split]) for split, table in tables.items()}, flat)


def _row(names: Sequence[str], number: Mapping[str, int], table: Table, row: int, column: str) -> list[float]:
    has = [0.0] * len(number)
    for name in names:
        if name not in number:
            raise ValueError(
                f"data.label: {table.path}, {table.place(row)}: training does not know the label {shown(name)} in "
                f"column {shown(column)}; it has {listed(list(number))}{closest(name, number)}"
            )
        has[number[name]] = 1.0
    return has
