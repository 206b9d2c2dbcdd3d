"""Measurements as rows: one tidy CSV per part, which everything else is drawn from."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eat.files import write_text

COLUMNS = (
    *("part", "shape", "inputs", "length", "batch_size", "threads", "device", "dtype"),
    *("contender", "engine", "examples", "rounds", "warmup"),
    *("latency_ms_p50", "latency_ms_p95", "latency_ms_p99", "examples_per_s", "tokens_per_s"),
    *("peak_mib", "over_loaded_mib", "flops_ratio", "left_early"),
    *("baseline", "speedup", "speedup_low", "speedup_high", "efficiency"),
    *("not_measured", "commit", "code", "settings"),
)
"""Columns of every part's CSV; empty where a part has no such number, and all but the reason where not measured."""

TEXT = frozenset(
    {
        *("part", "shape", "inputs", "device", "dtype", "contender", "engine", "baseline"),
        *("not_measured", "commit", "code", "settings"),
    }
)
COUNTS = frozenset({"length", "batch_size", "threads", "examples", "rounds", "warmup"})

Row = dict[str, Any]


def write_part(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a part's rows, whole or not at all.

    Raises:
        ValueError: If a row holds something that is no column.
        OSError: If writing fails; the old file stays.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    write_text(path, text.getvalue())


def read_part(path: Path) -> list[Row]:
    """Read a part's rows back; empty cells are None. No file is no rows.

    Raises:
        ValueError: If the file is damaged.
    """
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{path}: expected the columns {list(COLUMNS)}, got {reader.fieldnames}; measure it anew")
        return [{column: _value(column, row[column]) for column in COLUMNS} for row in reader]


def is_current(rows: Sequence[Row], code: str, settings: str) -> bool:
    """Whether a part was measured with this code and these settings."""
    return bool(rows) and all(row["code"] == code and row["settings"] == settings for row in rows)


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else value


def _value(column: str, text: str) -> Any:
    if text == "":
        return None
    if column in TEXT:
        return text
    return int(text) if column in COUNTS else float(text)
