"""Read all finished runs below a folder; each that cannot be used is named with its reason, none is left out silently.

A run is superseded where its folder holds ``superseded.json``, such as ``{"by": "minilm-...-1234abcd", "why": "..."}``.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from eat.benchmark.results import FILE as BENCHMARK
from eat.evaluation.report.rows import is_point
from eat.evaluation.report.summary import OPERATING_POINT
from eat.evaluation.report.table import Row, read_rows
from eat.exits.points import OperatingPoint
from eat.files import read_object
from eat.runs.finished import FinishedRun
from eat.runs.naming import fingerprint
from eat.runs.saved import names_places, read_config
from eat.traces.quality import Point, measure_point
from eat.traces.run_traces import RunTraces, need_current

SUPERSEDED = "superseded.json"
_NAMED = re.compile(r"-seed\d+-([0-9a-f]{8})$")
_DIGITS = 1e-5  # frontier.csv holds six digits


@dataclasses.dataclass(frozen=True, order=True)
class Problem:
    """Something that a table leaves out or that its reader must know."""

    where: str  # the run's folder, or what else it is about
    what: str  # what is wrong, and what to do

    def __str__(self) -> str:
        """One line."""
        return f"{self.where}: {self.what}"


@dataclasses.dataclass(frozen=True, eq=False)
class LoggedRun:
    """A finished run with all that tables read of it."""

    run: FinishedRun
    traces: RunTraces
    frontier: tuple[Row, ...]  # the rows of report/frontier.csv
    own: OperatingPoint  # of its report: as it was configured, or certified

    @property
    def seed(self) -> int:
        """Seed of the training."""
        return int(self.run.config["seed"])

    @cached_property
    def own_point(self) -> Point:
        """What its own operating point is worth on the reported split."""
        return measure_point(self.traces.reported, self.own)

    def times(self, point: OperatingPoint) -> list[Row]:
        """Return the rows of a benchmark at an operating point: one for each batch size and thread count."""
        return [row for row in self._rows(point) if row["engine"] is not None]

    def machine(self) -> str | None:
        """Name the machine that the times were measured on; None where none were."""
        path = self.run.folder / "report" / BENCHMARK
        if not path.is_file():
            return None
        facts = read_object(path).get("environment", {})
        return str(facts.get("gpu") or f"{facts.get('cpu')}, {facts.get('cpu_cores')} cores")

    def notes(self) -> list[str]:
        """Say what a reader must know of a run that counts all the same."""
        noted = self.run.environment().get("data")
        answered = {trace.metadata.get("data_fingerprint") for trace in self.traces.splits.values()}
        return [] if noted is None or answered == {noted} else ["its traces answer other data than it was trained with"]

    def _rows(self, point: OperatingPoint) -> list[Row]:
        return [row for row in self.frontier if row["split"] == self.traces.main and is_point(row, point)]

    def check(self) -> None:
        """Check that the folder's files belong together.

        Raises:
            ValueError: Naming the file that does not, and what to do.
        """
        named = _NAMED.search(self.run.name)
        # A file's or folder's name is kept absolute and was typed otherwise: such a fingerprint cannot be repeated.
        if named and not names_places(self.run.config) and fingerprint(self.run.config) != named[1]:
            raise ValueError(
                f"config.yaml has the fingerprint {fingerprint(self.run.config)}, its folder {named[1]}: it is of "
                "another version of eat, or was edited; train it anew"
            )
        said = {row["value"] for row in self._rows(self.own) if row["value"] is not None}
        measured = next(iter(self.own_point.metrics.values()))
        if not said or any(abs(value - measured) > _DIGITS * max(1, abs(measured)) for value in said):
            raise ValueError(
                f"report/frontier.csv says {sorted(said) or 'nothing'} at {self.own.label}, trace/ {measured:.6g}: "
                f"an evaluation was interrupted; run `python evaluate.py run={self.run.folder}`"
            )


def collect(root: Path, tasks: Sequence[str] = (), suites: Sequence[str] = ()) -> tuple[list[LoggedRun], list[Problem]]:
    """Read all finished runs below a folder, in the order of their paths.

    Args:
        root: Folder of run folders, at any depth.
        tasks: Names of the tasks to read; all where empty.
        suites: Read only runs whose experiment is ``<suite>/...`` of one of them; all where empty.

    Returns:
        The runs, and a problem for each folder that was left out or needs a word.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"folder: expected a folder of finished runs, {root} is not there")
    runs, problems = [], []
    for folder in _folders(root):
        where = folder.relative_to(root).as_posix()
        try:
            config = read_config(folder, where)
            if is_wanted(config, tasks, suites):
                runs.append(read_logged(folder))
                problems += [Problem(where, note) for note in runs[-1].notes()]
        except (OSError, ValueError) as error:
            problems.append(Problem(where, _without(str(error), where)))
    return runs, problems


def is_wanted(config: dict[str, Any], tasks: Sequence[str], suites: Sequence[str]) -> bool:
    """Return True for a run of one of the tasks and of one of the suites; of any where none is given."""
    task, experiment = config["task"].get("name"), str(config.get("experiment"))
    return (not tasks or task in tasks) and (not suites or any(experiment.startswith(f"{suite}/") for suite in suites))


def read_logged(folder: Path) -> LoggedRun:
    """Read one finished run.

    Raises:
        FileNotFoundError: If it lacks a file.
        ValueError: If it is superseded, not whole, or of another version.
    """
    if (reason := superseded(folder)) is not None:
        raise ValueError(reason)
    partial = next((path for path in sorted(folder.rglob("*.partial"))), None)
    if partial is not None:
        raise ValueError(f"an interrupted write left {partial.relative_to(folder)}; train or evaluate it again")
    run = FinishedRun(folder)
    report = folder / "report"
    missing = [name for name in ("frontier.csv", OPERATING_POINT) if not (report / name).is_file()]
    if missing:
        raise FileNotFoundError(f"report/{missing[0]} is missing; run `python evaluate.py run={folder}`")
    own = read_object(report / OPERATING_POINT)
    if "exit" not in own:
        raise ValueError(f"report/{OPERATING_POINT} names no exit; run `python evaluate.py run={folder}`")
    traces = need_current(run, "trace")
    logged = LoggedRun(run, traces, tuple(read_rows(report / "frontier.csv")), OperatingPoint.of(own["exit"]))
    logged.check()
    return logged


def superseded(folder: Path) -> str | None:
    """Say why a run's folder no longer counts; None where it does."""
    if ".old-" in folder.name:
        return "set aside when the run was started anew"
    if not (folder / SUPERSEDED).is_file():
        return None
    facts = read_object(folder / SUPERSEDED)
    why = f" ({facts['why']})" if facts.get("why") else ""
    return f"superseded by {facts.get('by') or 'nothing named'}{why}"


def _folders(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("config.yaml")):
        if not any(part.startswith(".") for part in path.relative_to(root).parts):
            yield path.parent


def _without(message: str, where: str) -> str:
    """Return a message without the name of what it is about, which stands before it."""
    return " ".join(message.removeprefix(f"{where}: ").removeprefix("run: ").split())
