"""Quality beside cost, on each reported split: the tables of a report and their figures."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from eat.benchmark.contenders import ALL_OFF, PADDED
from eat.evaluation.context import Evaluation
from eat.evaluation.report.figures import draw_exits, draw_frontier
from eat.evaluation.report.rows import absent_rows, benchmark_rows, frontier_rows, is_point, quality_rows, row_label
from eat.evaluation.report.section import Draw, Section
from eat.evaluation.report.table import Row, delta_text, number, render, speedup_text
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.runs.finished import FinishedRun
from eat.traces.replay import replay


def quality_section(run: Evaluation) -> Section:
    """Lay out results.csv, frontier.csv, frontier.png, exits.png and a table for each reported split.

    A single point is no frontier, and a run that neither exits nor prunes has nothing to show in exits.png.
    """
    findings, measured = run.findings, run.benchmark
    rows = frontier_rows(run.run, findings, measured)
    timed = []
    if measured:
        timed = [row for over in (PADDED, ALL_OFF) for row in benchmark_rows(run.run, findings, measured, over)]
        timed += absent_rows(run.run, findings, measured)
    parts = [
        f"## {split}: quality and cost\n\n{frontier_table(rows, split, run.own, markdown=True)}"
        for split in findings.points
    ]
    main = run.traces.reported
    figures: dict[str, Draw] = {}
    if len([row for row in rows if row["split"] == main.split]) > 1:
        figures["frontier.png"] = partial(draw_frontier, rows, main.split)
    if len(main.head_depths) > 1 or replay(main, FULL_DEPTH).retention.min() < 1:
        figures["exits.png"] = partial(draw_exits, findings)
    return Section(
        markdown="\n\n".join([*parts, _explain_table(run.baseline_run, timed=measured is not None)]),
        rows={"frontier.csv": rows, "results.csv": [*quality_rows(run.run, findings), *timed]},
        files=figures,
        console="\n\n".join(frontier_table(rows, split, run.own) for split in findings.points),
    )


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


def _explain_table(baseline: FinishedRun | None, *, timed: bool) -> str:
    compared = f"the dense run {baseline.name}" if baseline else "this model's own full depth"
    few = "; no interval where too few batches were timed. A dash: not measured, or another model"
    return (
        "*: the operating point of this report. "
        f"Points: difference in the first metric to {compared}, with a paired bootstrap 95 % interval. ECE: 15 bins. "
        "Depth: mean exit depth. Tokens kept: share in the last executed block. FLOPs: executed / dense, unpadded, "
        "full depth. Speed-ups: over Hugging Face SDPA on padded batches, paired within rounds"
        f"{few if timed else '. A dash: not measured'}."
    )
