"""JSON lines: one object a line."""

import json
from collections.abc import Collection, Mapping
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
    available: dict[str, None] = {}
    rows, lines = [], []
    for line, text in text_lines(path):
        if not text.strip():
            continue
        row = parse_object(text, wanted, f"{path}, line {line}")
        available.update(dict.fromkeys(row))
        rows.append({name: row.get(name) for name in wanted})
        lines.append(line)
    if rows:
        require_columns(list(available), wanted, path)
    return Table(path, {name: [row[name] for row in rows] for name in wanted}, lines)


def parse_object(text: str, wanted: Collection[str], where: str) -> dict[str, Any]:
    """Read the object of a line, which ``where`` names.

    Raises:
        BrokenRowError: If it is none, or has a wanted key twice.
    """
    try:
        row = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        whole = " (every line must be an object of its own)" if text.strip() in ("[", "{") else ""
        raise BrokenRowError(f"{where}: broken JSON: {error}{whole}") from error
    if not isinstance(row, dict):
        raise BrokenRowError(f"{where}: expected a JSON object, got {type(row).__name__}; every line must be one")
    if isinstance(row, _Repeating) and row.repeated & set(wanted):
        raise BrokenRowError(f"{where}: the key {shown(min(row.repeated & set(wanted)))} stands there twice")
    return row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        row = _Repeating(row)
        row.repeated = frozenset(name for name in names if names.count(name) > 1)
    return row
