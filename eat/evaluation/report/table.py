"""Results as rows: one set of columns everywhere, empty where nothing was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from eat.checks import one_line
from eat.tables import Row as Row
from eat.tables import Table
from eat.traces.quality import Delta

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


make_row, write_rows, read_rows = TABLE.row, TABLE.write, TABLE.read
"""Build a row from measured values; write rows as CSV; read them back (lists as ``2;4``, as text)."""


def render(headers: Sequence[str], lines: Sequence[Sequence[str]], *, markdown: bool = False) -> str:
    """Lay out cells as an aligned table, the first column to the left; ``markdown``: with pipes, as GitHub has them."""
    table = [list(headers), *(list(line) for line in lines)]
    widths = [max(len(line[i]) for line in table) for i in range(len(headers))]

    def laid_out(line: Sequence[str]) -> str:
        cells = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        return "| " + " | ".join(cells) + " |" if markdown else "  ".join(cells).rstrip()

    dashes = ["-" * w if i == 0 or not markdown else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    ruler = "| " + " | ".join(dashes) + " |" if markdown else "  ".join(dashes)
    return "\n".join([laid_out(table[0]), ruler, *map(laid_out, table[1:])])


def in_cell(text: str) -> str:
    """Write a user's text so that it stays in its cell of a Markdown table."""
    return one_line(text).replace("|", r"\|")


def number(value: Any, digits: int = 3, suffix: str = "") -> str:
    """Format a measured number; a dash where there is none."""
    return "-" if value is None or value == "" else f"{float(value):.{digits}f}{suffix}"


def delta_text(row: Mapping[str, Any]) -> str:
    """Format a difference in points with its interval."""
    columns = ("delta_points", "delta_low", "delta_high")
    return points_text(None if row.get(columns[0]) is None else [row[column] for column in columns])


def points_text(delta: Delta | Sequence[float] | None, unit: str = "") -> str:
    """Format a measured difference in points with the ends of its interval."""
    if delta is None:
        return "-"
    points, low, high = (delta.points, delta.low, delta.high) if isinstance(delta, Delta) else delta
    return f"{points:+.2f}{unit} [{low:+.2f}, {high:+.2f}]"


def speedup_text(row: Mapping[str, Any]) -> str:
    """Format a speed-up with its interval, if there is one; "no difference" where that spans 1.00."""
    return ratio_text([row.get("speedup"), row.get("speedup_low"), row.get("speedup_high")])


def ratio_text(values: Sequence[float | None] | None) -> str:
    """Format a ratio and the ends of its interval, if there is one; a dash where nothing was measured."""
    ratio, low, high = values or (None, None, None)
    if ratio is None:
        return "-"
    if low is None or high is None:
        return f"{ratio:.2f}x"
    if ratio == low == high == 1.0:
        return "1.00x"
    interval = f"[{low:.2f}, {high:.2f}]"
    return f"no difference {interval}" if low <= 1.0 <= high else f"{ratio:.2f}x {interval}"
