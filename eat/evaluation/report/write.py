"""The files of a report and the one table that is printed."""

import dataclasses
import json
import logging
import shlex
from pathlib import Path

from eat.benchmark.contenders import ALL_OFF, PADDED
from eat.benchmark.results import read_benchmark
from eat.evaluation.criteria import Comparison, pareto_rows
from eat.evaluation.findings import Findings
from eat.evaluation.report.console import frontier_table
from eat.evaluation.report.criteria_figure import draw_comparison
from eat.evaluation.report.figures import draw_calibration, draw_exits, draw_frontier
from eat.evaluation.report.rows import absent_rows, benchmark_rows, frontier_rows, quality_rows
from eat.evaluation.report.summary import difficulty_table, summary
from eat.evaluation.report.table import Row, write_rows
from eat.files import write_text
from eat.runs.finished import FinishedRun

log = logging.getLogger(__name__)

OPERATING_POINT = "operating_point.json"


@dataclasses.dataclass(frozen=True)
class Report:
    """What an evaluation wrote.

    Attributes:
        folder: Where results.csv, frontier.csv, summary.md, operating_point.json and the figures are.
        rows: The rows of frontier.csv.
        table: The table that was printed.
    """

    folder: Path
    rows: list[Row]
    table: str


def write_report(
    run: FinishedRun,
    findings: Findings,
    folder: Path,
    *,
    baseline: str | None = None,
    comparison: Comparison | None = None,
) -> Report:
    """Write results.csv, frontier.csv, summary.md and the figures, each whole or not at all; log the table.

    Args:
        run: The run.
        findings: Its findings.
        folder: Where to write; times measured earlier are read from there.
        baseline: Name of the dense run that quality is compared with, or None.
        comparison: All criteria side by side, for criteria.png and pareto.csv; None leaves both out.

    Raises:
        OSError: If a file cannot be written; the old one stays.
    """
    measured = read_benchmark(folder, findings.traces[findings.main].metadata["fingerprint"])
    rows = frontier_rows(run, findings, measured)
    timed = []
    if measured:
        timed = [row for over in (PADDED, ALL_OFF) for row in benchmark_rows(run, findings, measured, over)]
        timed += absent_rows(run, findings, measured)
    write_rows(folder / "frontier.csv", rows)
    write_rows(folder / "results.csv", [*quality_rows(run, findings), *timed])
    figures = ["frontier.png", "exits.png"]
    draw_frontier(rows, findings.main, folder / "frontier.png")
    draw_exits(findings, folder / "exits.png")
    if not findings.traces[findings.main].is_regression:
        reported = findings.traces[findings.main]
        draw_calibration(reported.raw, findings.main, folder / "calibration.png", reported.temperatures)
        figures.append("calibration.png")
    if comparison is not None:
        draw_comparison(comparison, findings.traces[findings.main], folder / "criteria.png")
        held_out, reported = findings.traces["threshold"], findings.traces[findings.main]
        write_rows(folder / "pareto.csv", pareto_rows(run, held_out, reported, comparison))
        figures.append("criteria.png")
    point = {"run": run.name, "split": findings.main, "exit": findings.own.spec}
    write_text(folder / OPERATING_POINT, json.dumps(point, indent=1) + "\n")
    text = summary(run, findings, rows, measured, baseline=baseline, command=_command(run, findings), figures=figures)
    write_text(folder / "summary.md", text)
    tables = [frontier_table(rows, split, findings.own) for split in findings.points]
    if "difficulty" in findings.traces[findings.main].columns:
        tables.append(difficulty_table(findings))
    table = "\n\n".join(tables)
    log.info("\n%s\n\nreport: %s", table, folder)
    return Report(folder, rows, table)


def _command(run: FinishedRun, findings: Findings) -> str:
    """Return the command that repeats the evaluation, with the folder as seen from where it runs."""
    folder = run.folder.resolve()
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else Path("runs") / run.name
    command = f"python evaluate.py run={shown}"
    if findings.own != run.exit:
        command += "".join(f" {shlex.quote(override)}" for override in findings.own.overrides)
    return command
