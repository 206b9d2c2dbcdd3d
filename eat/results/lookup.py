"""Find one number in a result file, and write it as a page shows it."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from eat.checks import closest, one_of, shown
from eat.evaluation.report.summary import OPERATING_POINT
from eat.evaluation.report.table import delta_text, number
from eat.files import read_object
from eat.tables import read_csv

KEYS = ("source", "where", "column", "show", "digits", "over", "own")


def look_up(root: Path, spec: Mapping[str, Any]) -> str:
    """Return a number of a result file as text.

    Args:
        root: What ``source`` is relative to.
        spec: ``source``, a CSV or JSON file; ``column``, its column, or dotted key; ``where``, what other columns must
            hold in that row; ``own``, true for the row of the run's own operating point; ``show``, one of `SHOWN`;
            ``digits`` after the point; ``over``, what columns hold in another row, by whose number this one is divided.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If not just one number fits.
    """
    for key in spec:
        if key not in KEYS:
            raise ValueError(f"{key}: expected one of {sorted(KEYS)}{closest(key, KEYS)}")
    path, column, digits = root / str(spec["source"]), str(spec.get("column", "value")), int(spec.get("digits", 4))
    show = SHOWN[one_of("show", spec.get("show", "number"), SHOWN)]
    if path.suffix == ".json":
        return show({column: _value(path, column)}, column, digits)
    where = dict(spec.get("where") or {}) | (_own(path) if spec.get("own") else {})
    row = _row(path, where, column)
    if spec.get("over"):
        other = _row(path, where | dict(spec["over"]), column)
        row = {column: float(row[column]) / float(other[column])}
    return show(row, column, digits)


def sources_of(spec: Mapping[str, Any]) -> list[str]:
    """Return the files that a number is looked up in."""
    source = str(spec["source"])
    return [source, str(Path(source).with_name(OPERATING_POINT))] if spec.get("own") else [source]


def _row(path: Path, where: Mapping[str, Any], column: str) -> dict[str, Any]:
    """Return the row in which columns hold what they should; several must agree on the column asked for."""
    rows = _read(path, path.stat().st_mtime_ns)
    for key in (*where, column):
        if key not in rows[0]:
            raise ValueError(f"{path}: no column {key!r}{closest(key, rows[0])}")
    found = [row for row in rows if all(_equal(row[key], value) for key, value in where.items())]
    values = {row[column] for row in found}
    if len(values) != 1:
        said = "no row" if not found else f"{len(values)} values ({', '.join(sorted(values)[:5])})"
        raise ValueError(f"{path}: expected one {column} where {dict(where)}, got {said}")
    return {key: _number(value) for key, value in found[0].items()}


@functools.lru_cache(maxsize=64)
def _read(path: Path, changed_ns: int) -> list[dict[str, str]]:
    rows = read_csv(path)[1]
    if not rows:
        raise ValueError(f"{path}: expected rows, got none")
    return rows


def _own(path: Path) -> dict[str, Any]:
    """Return what columns hold in the rows of a report's own operating point."""
    said = read_object(path.with_name(OPERATING_POINT))
    exit = {key: said["exit"].get(key, "") for key in ("threshold", "patience")}
    return {"model": "eat", "split": said["split"], "exit": said["exit"]["name"]} | exit


def _value(path: Path, column: str) -> Any:
    value: Any = read_object(path)
    for key in column.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, int | float | str):
        raise ValueError(f"{path}: expected a number at {column}, got {shown(value)}")
    return value


def _equal(cell: str, wanted: Any) -> bool:
    one, other = _number(cell), _number("" if wanted is None else str(wanted))
    return one == other


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text or None


def _speedup(row: Mapping[str, Any], column: str, digits: int) -> str:
    ratio, low, high = (row.get(f"{column}{end}") for end in ("", "_low", "_high"))
    if ratio is None:
        return "-"
    interval = "" if low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{ratio:.{digits}f}x{interval}"


SHOWN: Mapping[str, Callable[[Mapping[str, Any], str, int], str]] = {
    "number": lambda row, column, digits: number(row[column], digits),
    "percent": lambda row, column, digits: number(None if row[column] is None else 100 * row[column], digits),
    "signed": lambda row, column, digits: "-" if row[column] is None else f"{row[column]:+.{digits}f}",
    "ratio": lambda row, column, digits: number(row[column], digits, "" if row[column] is None else "x"),
    "speedup": _speedup,
    "points": lambda row, column, digits: delta_text(row),
    "text": lambda row, column, digits: str(row[column] if row[column] is not None else "-"),
}
"""How a number is written: plain, times 100, with its sign, as 1.23x, so with its interval, and points with theirs."""
