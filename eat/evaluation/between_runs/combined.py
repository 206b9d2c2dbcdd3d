"""Several reports as one table and one figure: what a multirun ends with."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from eat.evaluation.between_runs.exits import make_exit_tables, write_exits
from eat.evaluation.between_runs.seeds import seed_table
from eat.evaluation.report.figures import draw_runs
from eat.evaluation.report.rows import is_point
from eat.evaluation.report.summary import OPERATING_POINT, Report
from eat.evaluation.report.table import Row, delta_text, number, read_rows, render, speedup_text, write_rows
from eat.exits.points import OperatingPoint, threshold_text
from eat.files import read_object, write_text
from eat.runs.finished import FinishedRun

log = logging.getLogger(__name__)

VARYING = (
    *("task", "budget", "backbone", "num_layers", "attention", "window", "pruner", "depths", "ratio"),
    *("head_depths", "head_pooling", "objective", "seed", "experiment"),
)
"""Columns that tell runs apart; a combined table names those that differ."""


def combine(
    reports: Iterable[Report | str | Path], out: str | Path, failures: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Write combined.csv, combined.md and combined.png from several reports, and log the table.

    Several runs with early heads and held-out splits are compared at all criteria as well: exits.md, .csv and .png.

    Args:
        reports: Reports, their folders, or run folders (then their ``report/``); each is taken once.
        out: Where to write.
        failures: What should have had a report and why it has none, named beside the table.

    Returns:
        The table: one line per report, at its own operating point; then means over seeds, where only those differ.

    Raises:
        FileNotFoundError: If a folder has no report.
        ValueError: If there is no report at all.
    """
    folders = list(dict.fromkeys(_report_folder(r.folder if isinstance(r, Report) else Path(r)) for r in reports))
    if not folders:
        raise ValueError("reports: expected at least one report to combine, got none")
    out = Path(out)
    frontiers = {folder: read_rows(folder / "frontier.csv") for folder in folders}
    rows = list({str(row): row for frontier in frontiers.values() for row in frontier}.values())
    names = _names(rows)
    own = [_own_rows(folder, frontier) for folder, frontier in frontiers.items()]
    lines = [_line(by_size, names) for by_size in own]
    headers = ["run", "exit", "split", "metric", "value", "points [95 %]", "ECE", "depth", "tokens kept", "FLOPs"]
    headers += ["ms p50 at 1", "speed-up at 1", "speed-up at 32"]
    write_rows(out / "combined.csv", rows)
    tables = [render(headers, lines, markdown=True), seed_table(own, VARYING, markdown=True)]
    missing = "\n".join(f"- failed: {name}: {reason}" for name, reason in failures.items())
    text = [*filter(None, [*tables, missing]), "![combined.png](combined.png)"]
    write_text(out / "combined.md", "\n\n".join(text) + "\n")
    draw_runs(rows, names, out / "combined.png")
    _compare_exits(folders, rows, out)
    table = "\n\n".join(filter(None, [render(headers, lines), seed_table(own, VARYING), missing]))
    log.info("\n%s\n\ncombined report: %s", table, out)
    return table


def _compare_exits(folders: Sequence[Path], rows: Sequence[Row], out: Path) -> None:
    """Compare criteria over runs, where there are several with early heads."""
    runs = {run.name: run for run in map(FinishedRun, dict.fromkeys(map(_run_folder, folders)))}
    tables = make_exit_tables(list(runs.values())) if len(runs) > 1 else []
    if tables:
        early = {table.run.name for table in tables}
        write_exits(tables, _names([row for row in rows if row["run"] in early]), out)
        log.info("exits compared: %s", out / "exits.md")


def _run_folder(report: Path) -> Path:
    """Return the run folder of ``<run>/report`` or ``<run>/report/<operating point>``."""
    return next(parent for parent in report.parents if (parent / "config.yaml").is_file())


def _report_folder(folder: Path) -> Path:
    for candidate in (folder, folder / "report"):
        if (candidate / "frontier.csv").is_file() and (candidate / OPERATING_POINT).is_file():
            return candidate
    raise FileNotFoundError(f"reports: no report in {folder}; `python evaluate.py run={folder}` writes it")


def _own_rows(folder: Path, frontier: Sequence[Row]) -> dict[int | None, Row]:
    """Return a report's rows at its own operating point, by batch size."""
    path = folder / OPERATING_POINT
    own = read_object(path)
    if not {"exit", "split"} <= set(own):
        raise ValueError(f"reports: {path} does not say 'exit' and 'split'; evaluate that run again")
    point = OperatingPoint.of(own["exit"])
    return {row["batch_size"]: row for row in frontier if row["split"] == own["split"] and is_point(row, point)}


def _line(by_size: Mapping[int | None, Row], names: Mapping[str, str]) -> list[str]:
    """Return the cells of one report: its own operating point, with the times at batch sizes 1 and 32."""
    row = next(iter(by_size.values()))
    said = [row["exit"], *(threshold_text(row[key]) for key in ("threshold", "patience") if row[key] is not None)]
    return [
        *(names[row["run"]], " ".join(said), row["split"], row["metric"], number(row["value"], 4), delta_text(row)),
        *(number(row["ece"]), number(row["avg_depth"], 2), number(row["retention"], 2), number(row["flops_ratio"])),
        number(by_size.get(1, {}).get("latency_ms_p50"), 2),
        *(speedup_text(by_size.get(size, {})) for size in (1, 32)),
    ]


def _names(rows: Sequence[Row]) -> dict[str, str]:
    """Name each run by the columns in which the runs differ, or by its folder where they do not."""
    runs = {row["run"]: row for row in rows if row["model"] == "eat"}
    differing = [column for column in VARYING if len({str(row[column]) for row in runs.values()}) > 1]
    names = {run: ", ".join(f"{column} {row[column]}" for column in differing) for run, row in runs.items()}
    return names if len(set(names.values())) == len(names) and differing else {run: run for run in runs}
