"""Measurements of the suite as rows: one tidy CSV per part, which everything else is drawn from."""

from collections.abc import Sequence
from pathlib import Path

from eat.tables import Row as Row
from eat.tables import Table

TABLE = Table(
    columns=(
        *("part", "shape", "inputs", "length", "batch_size", "threads", "device", "dtype"),
        *("contender", "engine", "examples", "rounds", "warmup"),
        *("latency_ms_p50", "latency_ms_p95", "latency_ms_p99", "examples_per_s", "tokens_per_s"),
        *("peak_mib", "over_loaded_mib", "flops_ratio", "left_early"),
        *("baseline", "speedup", "speedup_low", "speedup_high", "efficiency"),
        *("not_measured", "commit", "code", "settings"),
    ),
    text=frozenset(
        {
            *("part", "shape", "inputs", "device", "dtype", "contender", "engine", "baseline"),
            *("not_measured", "commit", "code", "settings"),
        }
    ),
    counts=frozenset({"length", "batch_size", "threads", "examples", "rounds", "warmup"}),
    remedy="; measure it anew",
)
"""Every part's CSV; cells are empty where a part has no such number, and all but the reason where not measured."""


def read_part(path: Path) -> list[Row]:
    """Read a part's rows; no file is no rows."""
    return TABLE.read(path) if path.is_file() else []


def is_current(rows: Sequence[Row], code: str, settings: str) -> bool:
    """Whether a part was measured with this code and these settings."""
    return bool(rows) and all(row["code"] == code and row["settings"] == settings for row in rows)
