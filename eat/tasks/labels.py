"""Read the labels of a user's file: names of classes, or scores, each checked with the place where it stands."""

import logging
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from eat.checks import closest, several, shown
from eat.tasks.formats import Table
from eat.tasks.formats.table import listed

FLOAT32_MAX = 3.4028235e38

_WHOLE = re.compile(r"([+-]?)(0|[1-9]\d*)(\.0*)?", re.ASCII)  # leading zeros make a code of it: 007
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,4})?", re.ASCII | re.IGNORECASE)
_TRUTH = {"true": Decimal(1), "false": Decimal(0)}

_log = logging.getLogger(__name__)


UNLABELLED = ("refuse", "drop", "keep")
"""What ``data.unlabelled`` can be."""
NO_LABEL = "-1"
"""As data sets number a row that was not labelled, or on which its labellers did not agree (SNLI)."""


def marks_no_label(train: Table, column: str, named: Sequence[str]) -> bool:
    """Tell by the training file's classes whether -1 stands for no label, in every file, or is a class itself.

    It stands for none where the names of numbered classes are given, or where two other classes or more are there, none
    of them a negative number: -1 beside 1 alone is a class of two, and beside -2 one of several.
    """
    if named:
        return NO_LABEL not in named
    others = {canonical_name(str(value)) for value in train.columns[column] if not is_missing(value)} - {NO_LABEL}
    return len(others) > 1 and not any(name.startswith("-") and _number(name) is not None for name in others)


def with_labels(table: Table, column: str, unlabelled: str, *, marked: bool) -> Table:
    """Return the rows of a table that have a label, ``unlabelled`` being one of `UNLABELLED`.

    Without one are rows that hold nothing there, and with ``marked`` those with -1 (`marks_no_label`).

    Raises:
        ValueError: If there are such rows and they are refused, or all are.
    """
    values = table.columns[column]
    missing = [row for row, value in enumerate(values) if is_missing(value)]
    marks = [row for row, value in enumerate(values) if marked and canonical_name(str(value)) == NO_LABEL]
    if unlabelled == "drop" and (missing or marks):
        left_out = {*missing, *marks}
        _log.info("%s: %d of %d rows have no label and are left out", table.path, len(left_out), len(values))
        if len(left_out) == len(values):
            raise ValueError(f"data.label: {table.path}: none of {len(values)} rows has a label in {shown(column)}")
        return table.taken([row for row in range(len(values)) if row not in left_out])
    if marks:
        raise ValueError(
            f"data.label: {table.path}: {len(marks)} of {len(values)} rows have {NO_LABEL} in column {shown(column)}, "
            f"by which data sets mark what has no label, the first in {table.place(marks[0])}; "
            f"data.unlabelled=drop leaves them out, data.unlabelled=keep takes it for a class"
        )
    return table


def check_label_names(names: Any, kind: str) -> tuple[str, ...]:
    """Return the option ``data.label_names`` as names, none where it is None.

    Raises:
        ValueError: If it is no list of two or more different names, or there are no classes to name.
    """
    if names is None:
        return ()
    if kind == "regression":
        raise ValueError(f"data.label_names: expected null with data.kind=regression, got {shown(names)}")
    given = several("data.label_names", names, "[negative,positive]")
    for name in given:
        if isinstance(name, bool) or not isinstance(name, str | int) or is_missing(name):
            raise ValueError(f"data.label_names: expected names, such as [negative,positive], got {shown(name)}")
    found = tuple(canonical_name(str(name)) for name in given)
    if len(set(found)) < max(2, len(found)):
        raise ValueError(f"data.label_names: expected two or more different names, got {shown(names)}")
    return found


def given_names(
    tables: Mapping[str, Table], names: Mapping[str, Sequence[str]], known: Sequence[str], column: str
) -> dict[str, list[str]]:
    """Return each row's class by the names that ``data.label_names`` gives to numbers from 0.

    A training file all of whose labels are among these names is taken as it is: then they say the order alone.

    Raises:
        ValueError: If a label is neither, with the place where it stands.
    """
    if set(names["train"]) <= set(known):
        return {split: list(own) for split, own in names.items()}
    numbers = {str(number): name for number, name in enumerate(known)}
    for split, table in tables.items():
        unknown = [row for row, name in enumerate(names[split]) if name not in numbers]
        if unknown:
            raise ValueError(
                f"data.label_names: {table.path}: {len(unknown)} rows have a label in column {shown(column)} that is "
                f"no number from 0 to {len(known) - 1} for {listed(known)}, the first in {table.place(unknown[0])}: "
                f"{shown(names[split][unknown[0]])}"
            )
    return {split: [numbers[name] for name in own] for split, own in names.items()}


def class_names(table: Table, column: str) -> list[str]:
    """Return the class name of every row: text without surrounding space, integers and booleans as text.

    An integer has one name however it is written (1, 1.0, "1", "+1", " 1.0"), in every format.
    """
    names = []
    for row, value in enumerate(_present(table, column)):
        if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
            value = int(value)  # integers that once shared a column with NaN
        if not isinstance(value, str | bool | int):
            raise ValueError(
                f"data.label: {table.path}, {table.place(row)}: expected text, an integer or true/false in column "
                f"{shown(column)}, got {shown(value)}; for scores say data.kind=regression, for a list of labels "
                "data.kind=multi_label"
            )
        names.append(canonical_name(str(value)))
    return names


def known_names(table: Table, column: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the classes of the training file in label order: those stored in it, else the distinct names, sorted."""
    stored: dict[str, str] = {}
    for name in table.stored_names.get(column, ()):
        if not is_missing(name):
            stored.setdefault(_folded(canonical_name(name)), canonical_name(name))
    return tuple(stored.values()) or sorted_names(names)


def sorted_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct names, by number where all are numbers, else by character; True and true are one."""
    distinct = set(names)
    truths = {name for name in distinct if _folded(name) in _TRUTH}
    if not any({style(name) for name in truths} == truths for style in (str.lower, str.capitalize, str.upper)):
        distinct = distinct - truths | {name.capitalize() for name in truths}
    try:
        return tuple(sorted(sorted(distinct), key=float))
    except ValueError:
        return tuple(sorted(distinct))


def refuse_two_spellings(tables: Mapping[str, Table], names: Mapping[str, Sequence[str]]) -> None:
    """Refuse names that are one value written in two ways (01 and 1, true and 1) in any file; warn of capitals.

    Raises:
        ValueError: If there are such names; the message says where each stands first.
    """
    first: dict[str, str] = {}
    for split, table in tables.items():
        for row, name in enumerate(names[split]):
            if name not in first:
                first[name] = f"{table.path}, {table.place(row)}"
    numbers: dict[Decimal, str] = {}
    words: dict[str, set[str]] = defaultdict(set)
    for name in first:
        number = _number(name)
        if number is None:
            words[name.casefold()].add(name)
            continue
        other = numbers.setdefault(number, name)
        if _folded(other) != _folded(name):
            raise ValueError(
                f"data.label: {shown(other)} ({first[other]}) and {shown(name)} ({first[name]}) are one value written "
                "in two ways; write it in one, or make both a word if they are two classes"
            )
    for alike in words.values():
        if len(alike) > 1:
            _log.warning(
                "data.label: %s differ only in capitals and are classes of their own; write them alike if they are one",
                " and ".join(f"{shown(name)} ({first[name]})" for name in sorted(alike)),
            )


def warn_of_scores(names: Sequence[str], path: Any, column: str) -> None:
    """Warn of classes whose names are all numbers, some of them no integers: they look like scores."""
    fractions = [name for name in names if _WHOLE.fullmatch(name) is None]
    if fractions and all(_NUMBER.fullmatch(name) for name in names):
        _log.warning(
            "data.label: %s: column %s holds numbers such as %s, which are taken for %d classes; for scores say "
            "data.kind=regression",
            *(path, shown(column), shown(fractions[0]), len(names)),
        )


def number_classes(names: Sequence[str], known: Sequence[str], table: Table, column: str) -> list[int]:
    """Return each row's class number; a name that training does not know is an error."""
    number = {_folded(name): index for index, name in enumerate(known)}
    unknown = [row for row, name in enumerate(names) if _folded(name) not in number]
    if unknown:
        first = names[unknown[0]]
        others = sorted({names[row] for row in unknown} - {first})
        also = f"; others are {listed(others)}" if others else ""
        raise ValueError(
            f"data.label: {table.path}: {len(unknown)} rows have a label in column {shown(column)} that training does "
            f"not know, the first in {table.place(unknown[0])}: {shown(first)}; training has {listed(known)}"
            f"{closest(first, known)}{also}"
        )
    return [number[_folded(name)] for name in names]


def scores(table: Table, column: str) -> list[float]:
    """Return the score of every row."""
    result = []
    for row, value in enumerate(_present(table, column)):
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not abs(number) <= FLOAT32_MAX:  # also NaN
            comma = " (with a decimal point)" if isinstance(value, str) and "," in value else ""
            raise ValueError(
                f"data.label: {table.path}, {table.place(row)}: data.kind=regression expects a finite number in "
                f"column {shown(column)}{comma}, got {shown(value)}"
            )
        result.append(number)
    return result


def canonical_name(text: str) -> str:
    """Return a name without surrounding space, and an integer in the one way of writing it: 1 for +1 and 1.0."""
    text = text.strip()
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        return text
    sign, digits, _ = whole.groups()
    return f"-{digits}" if sign == "-" and digits != "0" else digits


def is_missing(value: Any) -> bool:
    """Tell empty text, null and NaN, also as a word."""
    if isinstance(value, str):
        return value.strip().lower() in ("", "nan", "<na>")
    return value is None or (isinstance(value, float | Decimal) and math.isnan(value))


def _folded(name: str) -> str:
    """Return what makes two names one class: truth values are written True, true and TRUE by different tools."""
    return name.lower() if name.lower() in _TRUTH else name


def _number(name: str) -> Decimal | None:
    """Return the number that a name may stand for."""
    return Decimal(name) if _NUMBER.fullmatch(name) else _TRUTH.get(name.lower())


def _present(table: Table, column: str) -> list[Any]:
    values = table.columns[column]
    missing = [row for row, value in enumerate(values) if is_missing(value)]
    if missing:
        unnamed = f", or {NO_LABEL}, which is none of the names that the file stores" if table.stored_names else ""
        raise ValueError(
            f"data.label: {table.path}: {len(missing)} of {len(values)} rows have no label in column {shown(column)} "
            f"(empty, null or NaN{unnamed}), the first in {table.place(missing[0])}; data.unlabelled=drop leaves "
            "them out"
        )
    return values
