"""The one table that is read first: quality beside cost, in the terminal and in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from eat.evaluation.report.rows import is_point, row_label
from eat.evaluation.report.table import Row, number, render
from eat.exits.points import OperatingPoint
from eat.traces.quality import Delta


def frontier_table(rows: Sequence[Row], split: str, own: OperatingPoint, *, markdown: bool = False) -> str:
    """Lay out a split of `frontier.csv`: a line per contender, batch sizes side by side, a star at the own point."""
    lines: dict[tuple[str, int | None], dict[int | None, Row]] = {}
    for row in (row for row in rows if row["split"] == split):
        name = row_label(row) + (" *" if is_point(row, own) else "")
        lines.setdefault((name, row["threads"]), {})[row["batch_size"]] = row
    sizes = sorted({row["batch_size"] for row in rows if row["batch_size"] is not None})
    many_threads = len({row["threads"] for row in rows if row["threads"] is not None}) > 1
    metric = rows[0]["metric"] if rows else "value"
    headers = [split, metric, "points [95 %]", "ECE", "depth", "tokens kept", "FLOPs"]
    for size in sizes:
        headers += ["ms p50 at 1" if size == 1 else f"examples/s at {size}", f"speed-up at {size}"]
    cells = []
    for (name, threads), by_size in lines.items():
        first = next(iter(by_size.values()))
        line = [
            f"{name}, {threads} threads" if many_threads and threads is not None else name,
            number(first["value"], 4),
            delta_text(first),
            number(first["ece"]),
            number(first["avg_depth"], 2),
            number(first["retention"], 2),
            number(next((row["flops_ratio"] for row in by_size.values() if row["flops_ratio"] is not None), None)),
        ]
        for size in sizes:
            measured: Mapping[str, Any] = by_size.get(size, {})
            time = number(measured.get("latency_ms_p50"), 2) if size == 1 else number(measured.get("examples_per_s"), 0)
            line += [time, speedup_text(measured)]
        cells.append(line)
    return render(headers, cells, markdown=markdown)


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
    """Format a speed-up with its interval; "no difference" where that spans 1.00."""
    return ratio_text([row.get("speedup"), row.get("speedup_low"), row.get("speedup_high")])


def ratio_text(values: Sequence[float | None] | None) -> str:
    """Format a ratio and the ends of its interval; a dash where nothing was measured."""
    ratio, low, high = values or (None, None, None)
    if ratio is None or low is None or high is None:
        return "-"
    if ratio == low == high == 1.0:
        return "1.00x"
    interval = f"[{low:.2f}, {high:.2f}]"
    return f"no difference {interval}" if low <= 1.0 <= high else f"{ratio:.2f}x {interval}"
