"""Which reports can stand in one table: the others are named with what is wrong, and none is merged in silence."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from eat.checks import one_line
from eat.evaluation.report.rows import is_point
from eat.evaluation.report.summary import OPERATING_POINT
from eat.evaluation.report.table import Row, read_rows
from eat.exits.points import OperatingPoint
from eat.files import read_object
from eat.models.engines import OWN, EngineId
from eat.runs.finished import FinishedRun
from eat.runs.naming import fingerprint, seedless_fingerprint
from eat.traces.run_traces import read_traces

FILES = ("frontier.csv", OPERATING_POINT, "summary.md")
"""What every report has; the last one is written last."""
SET_ASIDE = re.compile(r"\.old-\d+\b")


@dataclasses.dataclass(frozen=True, eq=False)
class Reported:
    """A report as a combined table needs it."""

    folder: Path
    run: FinishedRun
    frontier: list[Row]
    own: Mapping[int | None, Row]  # its rows at its own operating point, by batch size
    temperatures: str  # of its heads, which calibration sets after training
    engine: EngineId = OWN  # whose answers it is about

    @property
    def row(self) -> Row:
        """What it says of quality and cost at its own operating point."""
        return next(iter(self.own.values()))

    @property
    def point(self) -> tuple[str, ...]:
        """Its engine where that is not eat's own, its operating point and its split."""
        values = [self.row[column] for column in ("split", "exit", "threshold", "patience")]
        return (*map(str, values), *map(str, self.engine.facts.values()))

    def configuration(self, *, seed: bool) -> tuple[str, ...]:
        """Name what was trained, with or without its seed, and the point that is reported."""
        named = fingerprint if seed else seedless_fingerprint
        return (named(self.run.config), self.temperatures if seed else str(self.temperatures != "None"), *self.point)

    @property
    def result(self) -> tuple[str, ...]:
        """What it found, times left out: the same where the same weights answered the same examples."""
        columns = ("examples", "metric", "value", "ece", "avg_depth", "retention", "flops_ratio")
        return tuple(str(self.row[column]) for column in columns)


def read_reports(folders: Iterable[Path]) -> tuple[list[Reported], list[str]]:
    """Read reports; return those that can be combined, and a line on each that cannot.

    Left out are reports that are missing or half written, those of runs that were set aside or are trained anew, and
    those of other weights than the run's. Of copies the first is taken; of the same training with different results
    none is.

    Raises:
        FileNotFoundError: If none can be combined.
    """
    read: list[Reported] = []
    problems: list[str] = []
    for folder in dict.fromkeys(folders):
        try:
            read.append(_read(folder))
        except (OSError, ValueError) as error:
            problems.append(f"left out: {one_line(error)}")
    kept = _without_conflicts({report.folder.resolve(): report for report in read}.values(), problems)
    if not kept:
        raise FileNotFoundError("; ".join(problems).replace("left out: ", ""))
    return kept, problems


def run_folder(report: Path) -> Path:
    """Return the run folder of ``<run>/report`` or ``<run>/report/<operating point>``.

    Raises:
        FileNotFoundError: If there is none.
    """
    for parent in report.parents:
        if (parent / "config.yaml").is_file():
            return parent
    raise FileNotFoundError(f"reports: {report} lies in no run folder; none above it has a config.yaml")


def _read(folder: Path) -> Reported:
    """Read a report.

    Raises:
        OSError: If a part of it is missing.
        ValueError: If it is damaged, or no longer holds.
    """
    again = f"`python evaluate.py run={folder}` writes it"
    if not any((place / name).is_file() for place in (folder, folder / "report") for name in FILES):
        raise FileNotFoundError(f"reports: no report in {folder}; {again}")
    folder = folder if any((folder / name).is_file() for name in FILES) else folder / "report"
    run = FinishedRun(run_folder(folder), "reports")
    again = f"`python evaluate.py run={run.folder}` writes it again"
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise FileNotFoundError(f"reports: {folder} is half written, {' and '.join(missing)} missing; {again}")
    if SET_ASIDE.search(run.name):
        raise ValueError(
            f"reports: {run.folder} is superseded, it was set aside when {SET_ASIDE.sub('', run.name)} was trained anew"
        )
    point = read_object(folder / OPERATING_POINT)
    if not {"exit", "split"} <= set(point):
        raise ValueError(
            f"reports: {folder / OPERATING_POINT} does not say 'exit' and 'split'; evaluate that run again"
        )
    engine = EngineId(point.get("engine", OWN.name), point.get("bits"))
    name = run.name if engine.is_eat else f"{run.name} in {engine.name}"
    frontier = [row | {"run": name} for row in read_rows(folder / "frontier.csv")]  # it may have been renamed
    exit = OperatingPoint.of(point["exit"])
    own = {row["batch_size"]: row for row in frontier if row["split"] == point["split"] and is_point(row, exit)}
    if not own:
        raise ValueError(f"reports: {folder} has no row of its own operating point, {exit.label}; {again}")
    traces = read_traces(run, engine)
    if run.has_weights and traces.fingerprint != run.fingerprint(engine):
        raise ValueError(
            f"reports: {folder} is superseded, it was made from other weights than the run has now; {again}"
        )
    return Reported(folder, run, frontier, own, str(traces.reported.config["heads"].get("temperatures")), engine)


def _without_conflicts(read: Iterable[Reported], problems: list[str]) -> list[Reported]:
    """Take one of several copies, and none of the same training where results differ; say so of each."""
    alike: dict[tuple[str, ...], list[Reported]] = {}
    for report in read:
        alike.setdefault(report.configuration(seed=True), []).append(report)
    kept: list[Reported] = []
    for reports in alike.values():
        values = ", ".join(f"{report.folder} ({report.row['metric']} {report.row['value']})" for report in reports)
        if len({report.result for report in reports}) > 1:
            problems.append(f"left out: the same training and operating point with different results: {values}")
            continue
        namesakes = (one.run.folder for one in kept if one.run.name == reports[0].run.name)
        if (folder := next(namesakes, None)) is not None and not folder.samefile(reports[0].run.folder):
            problems.append(
                f"left out: {reports[0].run.folder} is called as {folder} is, and is another run; rename it"
            )
            continue
        kept.append(reports[0])
        problems += [f"left out: {report.folder} says the same as {reports[0].folder}" for report in reports[1:]]
    return kept
