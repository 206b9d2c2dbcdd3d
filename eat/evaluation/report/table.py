"""Results as rows: one set of columns everywhere, empty where nothing was measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eat.tables import Row as Row
from eat.tables import Table

COLUMNS = (
    *("experiment", "run", "commit", "task", "split", "data", "budget", "model", "backbone", "num_layers"),
    *("attention", "window", "pruner", "depths", "ratio", "head_depths", "head_pooling", "objective"),
    *("exit", "threshold", "patience", "seed", "examples"),
    *("metric", "value", "delta_points", "delta_low", "delta_high", "ece"),
    *("avg_depth", "retention", "gflops", "flops_ratio"),
    *("engine", "batch_size", "threads", "device", "dtype"),
    *("latency_ms_p50", "latency_ms_p95", "latency_ms_p99", "examples_per_s"),
    *("baseline", "speedup", "speedup_low", "speedup_high"),
    *("speedup_tokenised", "speedup_tokenised_low", "speedup_tokenised_high", "efficiency"),
    *("peak_memory_mib", "peak_memory_over_loaded_mib", "note"),
)
"""The columns of any results table, in order; later ones may be missing in older files."""

TABLE = Table(
    COLUMNS,
    text=frozenset(
        {
            *("experiment", "run", "commit", "task", "split", "data", "budget", "model", "backbone"),
            *("attention", "pruner", "depths", "ratio", "head_depths", "head_pooling", "objective"),
            *("exit", "metric", "engine", "device", "dtype", "baseline", "note"),
        }
    ),
    counts=frozenset({"num_layers", "window", "patience", "seed", "examples", "batch_size", "threads"}),
    required=COLUMNS.index("speedup_high") + 1,
    title="results columns",
)


def make_row(**values: Any) -> Row:
    """Build a row from the values that were measured; all other columns stay empty (None).

    Raises:
        ValueError: If a name is no column.
    """
    return TABLE.row(**values)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV with all `COLUMNS`, whole or not at all.

    Raises:
        ValueError: If a row holds something that is no column.
        OSError: If writing fails; the old file stays.
    """
    TABLE.write(path, rows)


def read_rows(path: Path) -> list[Row]:
    """Read rows back: empty cells as None, numbers as int, float or list of float, the others as text (``2;4``).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If its header is not `COLUMNS`, or the first of them, as older files have it.
    """
    return TABLE.read(path)


def render(headers: Sequence[str], lines: Sequence[Sequence[str]], *, markdown: bool = False) -> str:
    """Lay out cells as an aligned table; the first column to the left, the others to the right.

    Args:
        headers: One name per column.
        lines: One sequence of cells per line.
        markdown: With pipes, as GitHub shows tables.
    """
    table = [list(headers), *(list(line) for line in lines)]
    widths = [max(len(line[i]) for line in table) for i in range(len(headers))]

    def laid_out(line: Sequence[str]) -> str:
        cells = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        return "| " + " | ".join(cells) + " |" if markdown else "  ".join(cells).rstrip()

    dashes = ["-" * w if i == 0 or not markdown else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    ruler = "| " + " | ".join(dashes) + " |" if markdown else "  ".join(dashes)
    return "\n".join([laid_out(table[0]), ruler, *map(laid_out, table[1:])])


def number(value: Any, digits: int = 3, suffix: str = "") -> str:
    """Format a measured number; a dash where there is none."""
    return "-" if value is None or value == "" else f"{float(value):.{digits}f}{suffix}"
