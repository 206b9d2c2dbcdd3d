"""Runs that differ in their seed alone, as mean and deviation."""

import statistics
from collections.abc import Mapping, Sequence

from eat.evaluation.report.table import Row, render

ByBatchSize = Mapping[int | None, Row]
"""One report at its own operating point: its rows by batch size."""

COLUMNS = (
    ("value", None, 4, "value"),
    ("flops_ratio", None, 3, "FLOPs"),
    ("latency_ms_p50", 1, 2, "ms p50 at 1"),
    ("speedup", 1, 2, "speed-up at 1"),
    ("speedup", 32, 2, "speed-up at 32"),
)
"""What is averaged: column, batch size (None for any), digits, heading."""


def seed_table(reports: Sequence[ByBatchSize], varying: Sequence[str], *, markdown: bool = False) -> str:
    """Lay out mean and sample deviation over seeds, one line per group of reports that differ in nothing else.

    ``varying`` are the columns that tell runs apart, "seed" among them. Empty where no two differ in the seed alone.
    """
    alike = [column for column in (*varying, "split", "exit", "threshold", "patience") if column != "seed"]
    groups: dict[tuple[str, ...], list[ByBatchSize]] = {}
    for report in reports:
        row = next(iter(report.values()))
        groups.setdefault(tuple(str(row[column]) for column in alike), []).append(report)
    differing = [i for i in range(len(alike)) if len({key[i] for key in groups}) > 1]
    lines = []
    for key, group in groups.items():
        seeds = {next(iter(report.values()))["seed"] for report in group}
        if len(seeds) == len(group) > 1:
            name = ", ".join(f"{alike[i]} {key[i]}" for i in differing) or next(iter(group[0].values()))["task"]
            values = [_mean_and_deviation(group, column, size, digits) for column, size, digits, _ in COLUMNS]
            lines.append([f"{name}, {len(seeds)} seeds", *values])
    headers = ["mean and deviation over seeds", *(heading for *_, heading in COLUMNS)]
    return render(headers, lines, markdown=markdown) if lines else ""


def _mean_and_deviation(group: Sequence[ByBatchSize], column: str, size: int | None, digits: int) -> str:
    """Format mean ± sample deviation of a column; a dash where a report lacks it."""
    rows = [next(iter(report.values())) if size is None else report.get(size, {}) for report in group]
    if any(row.get(column) is None for row in rows):
        return "-"
    numbers = [float(row[column]) for row in rows]
    return f"{statistics.mean(numbers):.{digits}f} ± {statistics.stdev(numbers):.{digits}f}"
