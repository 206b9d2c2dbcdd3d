"""Read the texts of a user's file, each checked with the place where it stands."""

import logging
import math
from decimal import Decimal
from typing import Any

from eat.checks import shown
from eat.tasks.formats import Table
from eat.tasks.labels import canonical_name, is_missing

_log = logging.getLogger(__name__)


def read_texts(table: Table, column: str, option: str) -> list[str]:
    """Return the text of every row; a number is a text in every format, since CSV cannot tell the two apart.

    Args:
        table: The file.
        column: The column.
        option: The option that names the column, for messages.

    Raises:
        ValueError: If a row has none (null or NaN), or something that is neither text nor number.
    """
    values = table.columns[column]
    nulls = [row for row, value in enumerate(values) if is_no_text(value)]
    if nulls:
        raise ValueError(
            f"{option}: {table.path}: {len(nulls)} of {len(values)} rows have no text in column {shown(column)} "
            f"(null), the first in {table.place(nulls[0])}; empty text is allowed"
        )
    for row, value in enumerate(values):
        if why := why_no_text(value, column):
            raise ValueError(f"{option}: {table.path}, {table.place(row)}: {why}")
    return [str(value) for value in values]


def is_no_text(value: Any) -> bool:
    """Tell null and NaN; text that says so is text."""
    return not isinstance(value, str) and is_missing(value)


def warn_of_odd_texts(texts: list[str], table: Table, column: str, option: str) -> None:
    """Warn where all texts are empty or all are numbers: another column, of ids for instance, is taken for the text."""
    kind = "numbers" if all(map(_is_number, texts)) else "" if any(text.strip() for text in texts) else "empty"
    if kind:
        _log.warning(
            "%s: %s: all %d texts in column %r are %s, the first is %s; is it the text?",
            *(option, table.path, len(texts), column, kind, shown(texts[0])),
        )


def group_values(table: Table, column: str) -> list[str | None]:
    """Return what a column holds as text, None where nothing; what no text can hold (half a surrogate) is replaced."""
    return [
        None if is_missing(value) else canonical_name(str(value)).encode(errors="replace").decode()
        for value in table.columns[column]
    ]


def why_no_text(value: Any, column: str) -> str | None:
    """Say why a value, not null, is neither text nor number, or None where it is one."""
    if not isinstance(value, str | bool | int | float | Decimal):
        return f"expected text in column {shown(column)}, got {type(value).__name__} {shown(value)}"
    try:
        str(value).encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can write half of a surrogate pair, which no tokenizer takes
        return f"column {shown(column)} is no Unicode text: {error}"
    return None


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
