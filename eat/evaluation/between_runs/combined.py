"""Several reports as one table and one figure: what a multirun ends with."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from eat.evaluation.between_runs.exits import make_exit_tables, write_exits
from eat.evaluation.between_runs.seeds import (
    Group,
    averaged,
    group_names,
    group_seeds,
    missing_seeds,
    tell_apart,
)
from eat.evaluation.between_runs.sound import Reported, read_reports
from eat.evaluation.report.figures import draw_runs
from eat.evaluation.report.summary import Report
from eat.evaluation.report.table import delta_text, number, render, speedup_text, write_rows
from eat.exits.points import threshold_text
from eat.files import write_text

log = logging.getLogger(__name__)

VARYING = (
    *("task", "budget", "backbone", "num_layers", "attention", "window", "pruner", "depths", "ratio"),
    *("head_depths", "head_pooling", "objective", "seed", "experiment"),
)
"""Columns that tell runs apart; a combined table names those that differ."""
HEADERS = (
    *("exit", "split", "metric", "value", "points [95 %]", "ECE", "depth", "tokens kept", "FLOPs"),
    *("ms p50 at 1", "speed-up at 1", "speed-up at 32"),
)


def combine(
    reports: Iterable[Report | str | Path],
    out: str | Path,
    failures: Mapping[str, str] = MappingProxyType({}),
    *,
    notes: Sequence[str] = (),
    command: str | None = None,
) -> str:
    """Write combined.csv, combined.md and combined.png from several reports, and log the table.

    Several runs with early heads and held-out splits are compared at all criteria as well: exits.md, .csv and .png.

    Args:
        reports: Reports, their folders, or run folders (then their ``report/``); each is taken once.
        out: Where to write.
        failures: What should have had a report and why it has none, named beside the table.
        notes: What else the table's reader must know, a line each.
        command: The command that all this is made with, shown above the table.

    Returns:
        The table: one line per configuration, at its own operating point, with mean and deviation over its seeds; then,
        where there are several seeds, each run. Below it stands what is missing, and what was left out and why.

    Raises:
        FileNotFoundError: If no report can be combined.
        ValueError: If no report is named.
    """
    folders = [r.folder if isinstance(r, Report) else Path(r) for r in reports]
    if not folders:
        raise ValueError("reports: expected at least one report to combine, got none")
    out = Path(out)
    sound, problems = read_reports(folders)
    rows = list({str(row): row for report in sound for row in report.frontier}.values())
    names = _names(sound)
    write_rows(out / "combined.csv", rows)
    groups = group_seeds(sound)
    said = failure_lines(failures)
    said += [f"- {line}" for line in [*notes, *missing_seeds(groups, group_names(groups, VARYING)), *problems]]
    tables = [_tables(sound, groups, names, markdown=markdown) for markdown in (True, False)]
    below = "\n".join(said)
    head = made_with(command) if command else None
    text = [*filter(None, [head, *tables[0], below]), "![combined.png](combined.png)"]
    write_text(out / "combined.md", "\n\n".join(text) + "\n")
    draw_runs(rows, names, out / "combined.png")
    _compare_exits(sound, out)
    table = "\n\n".join(filter(None, [*tables[1], below]))
    log.info("\n%s\n\ncombined report: %s", table, out)
    return table


def write_failures(out: Path, failures: Mapping[str, str], command: str) -> None:
    """Write a combined.md that says why there is no table."""
    text = ["No job has a report.", made_with(command), "\n".join(failure_lines(failures))]
    write_text(out / "combined.md", "\n\n".join(text) + "\n")


def made_with(command: str) -> str:
    """Show the command that a page is made with, as Markdown."""
    return f"Made with:\n\n    {command.strip()}"


def failure_lines(failures: Mapping[str, str]) -> list[str]:
    """Name what has no report, and why: a line of Markdown each."""
    return [f"- failed: {name}: {reason}" for name, reason in failures.items()]


def _tables(
    reports: Sequence[Reported], groups: Sequence[Group], names: Mapping[str, str], *, markdown: bool
) -> list[str]:
    """Lay out each report; where some differ in their seed alone, first a line for each configuration."""
    each = render(["run", *HEADERS], [[names[r.row["run"]], *_cells(r)] for r in reports], markdown=markdown)
    if all(len(group) == 1 for group in groups):
        return [each]
    lines = [
        [name, str(len(group)), *(_cells(group[0]) if len(group) == 1 else [*_point(group[0]), *averaged(group)])]
        for name, group in zip(group_names(groups, VARYING), groups, strict=True)
    ]
    return [render(["mean ± deviation over seeds", "seeds", *HEADERS], lines, markdown=markdown), each]


def _compare_exits(reports: Sequence[Reported], out: Path) -> None:
    """Compare criteria over runs, as eat's own engine answers, where there are several with early heads."""
    own = {report.run.name: report for report in reports if report.engine.is_eat}
    tables = make_exit_tables([report.run for report in own.values()]) if len(own) > 1 else []
    if tables:
        write_exits(tables, _names([own[table.run.name] for table in tables]), out)
        log.info("exits compared: %s", out / "exits.md")


def _point(report: Reported) -> list[str]:
    row = report.row
    said = [] if report.engine.is_eat else [f"{report.engine.name}:"]
    said += [row["exit"], *(threshold_text(row[key]) for key in ("threshold", "patience") if row[key] is not None)]
    return [" ".join(said), row["split"], row["metric"]]


def _cells(report: Reported) -> list[str]:
    """Return the cells of one report: its own operating point, with the times at batch sizes 1 and 32."""
    row = report.row
    return [
        *(*_point(report), number(row["value"], 4), delta_text(row)),
        *(number(row["ece"]), number(row["avg_depth"], 2), number(row["retention"], 2), number(row["flops_ratio"])),
        number(report.own.get(1, {}).get("latency_ms_p50"), 2),
        *(speedup_text(report.own.get(size, {})) for size in (1, 32)),
    ]


def _names(reports: Sequence[Reported]) -> dict[str, str]:
    """Name each run by what tells the runs apart, or by its folder where nothing does."""
    runs = {str(report.row["run"]): report for report in reports}
    names = tell_apart(runs, VARYING)
    return names if len(runs) > 1 and len(set(names.values())) == len(runs) else {run: run for run in runs}
