"""Quality beside cost, on each reported split: the tables of a report and their figures."""

from functools import partial

from eat.benchmark.contenders import ALL_OFF, PADDED
from eat.evaluation.context import Evaluation
from eat.evaluation.report.console import frontier_table
from eat.evaluation.report.figures import draw_exits, draw_frontier
from eat.evaluation.report.rows import absent_rows, benchmark_rows, frontier_rows, quality_rows
from eat.evaluation.report.section import Section
from eat.runs.finished import FinishedRun


def quality_section(run: Evaluation) -> Section:
    """Lay out results.csv, frontier.csv, frontier.png, exits.png and a table for each reported split."""
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
    return Section(
        markdown="\n\n".join([*parts, _explain_table(run.baseline_run)]),
        rows={"frontier.csv": rows, "results.csv": [*quality_rows(run.run, findings), *timed]},
        files={
            "frontier.png": partial(draw_frontier, rows, run.traces.main),
            "exits.png": partial(draw_exits, findings),
        },
        console="\n\n".join(frontier_table(rows, split, run.own) for split in findings.points),
    )


def _explain_table(baseline: FinishedRun | None) -> str:
    compared = f"the dense run {baseline.name}" if baseline else "this model's own full depth"
    return (
        "*: the operating point of this report. "
        f"Points: difference in the first metric to {compared}, with a paired bootstrap 95 % interval. ECE: 15 bins. "
        "Depth: mean exit depth. Tokens kept: share in the last executed block. FLOPs: executed / dense, unpadded, "
        "full depth. Speed-ups: over Hugging Face SDPA on padded batches, paired within rounds. A dash: not measured."
    )
