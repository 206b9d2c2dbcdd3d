"""JSON: one object a line, or an array of objects."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from eat.checks import shown
from eat.tasks.formats.table import Table, require_columns
from eat.tasks.formats.text_lines import BrokenRowError, text_lines


class _Repeating(dict[str, Any]):
    """An object with a key that stands there twice; the last value counts, as everywhere."""

    repeated: frozenset[str]


def read_json_lines(path: Path, wanted: Mapping[str, str]) -> Table:
    """Read columns of objects; keys may differ from row to row, and a row without one has None there.

    Raises:
        ValueError: If a line is no JSON object or a column is missing; the message says in which line.
    """
    rows, lines = [], []
    for line, text in text_lines(path):
        if text.strip():
            rows.append(parse_object(text, wanted, f"{path}, line {line}"))
            lines.append(line)
    return _table(path, wanted, rows, lines, "line")


def read_json_array(path: Path, wanted: Mapping[str, str]) -> Table:
    """Read columns of an array of objects, as `read_json_lines` does of lines.

    Raises:
        ValueError: If the file is no array of objects or a column is missing; the message says in which row.
    """
    text = "".join(line for _, line in text_lines(path))
    try:
        rows = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: broken JSON: {error} (one object a line is a .jsonl file)") from error
    if not isinstance(rows, list):
        raise ValueError(f"{path}: expected a JSON array of objects, got {type(rows).__name__}")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise ValueError(f"{path}, row {number}: expected a JSON object, got {type(row).__name__}")
        _check_repeated(row, wanted, f"{path}, row {number}")
    return _table(path, wanted, rows, range(1, len(rows) + 1), "row")


def _table(
    path: Path, wanted: Mapping[str, str], rows: Sequence[dict[str, Any]], lines: Sequence[int], unit: str
) -> Table:
    available: dict[str, None] = {}
    for row in rows:
        available.update(dict.fromkeys(row))
    if rows:
        require_columns(list(available), wanted, path)
    return Table(path, {name: [row.get(name) for row in rows] for name in wanted}, lines, unit=unit)


def parse_object(text: str, wanted: Collection[str], where: str) -> dict[str, Any]:
    """Read the object of a line, which ``where`` names.

    Raises:
        BrokenRowError: If it is none, or has a wanted key twice.
    """
    try:
        row = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        whole = " (every line must be an object of its own; an array is a .json file)"
        raise BrokenRowError(f"{where}: broken JSON: {error}{whole if text.strip() in ('[', '{') else ''}") from error
    if not isinstance(row, dict):
        raise BrokenRowError(f"{where}: expected a JSON object, got {type(row).__name__}; every line must be one")
    _check_repeated(row, wanted, where)
    return row


def _check_repeated(row: dict[str, Any], wanted: Collection[str], where: str) -> None:
    if isinstance(row, _Repeating) and row.repeated & set(wanted):
        raise BrokenRowError(f"{where}: the key {shown(min(row.repeated & set(wanted)))} stands there twice")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        row = _Repeating(row)
        row.repeated = frozenset(name for name in names if names.count(name) > 1)
    return row
