"""What early exits are worth in several runs: for each criterion one chosen point, and what can be certified of it."""

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from eat.evaluation.certify.certificate import make_certificate
from eat.evaluation.certify.settings import CertifySettings
from eat.evaluation.criteria import early_exit_points
from eat.evaluation.report.rows import point_row
from eat.evaluation.report.table import Row
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.runs.finished import FinishedRun
from eat.traces.grid import exit_heads, measure_grid
from eat.traces.quality import Point, measure_point
from eat.traces.run_traces import RunTraces, read_traces
from eat.traces.trace import Trace

log = logging.getLogger(__name__)

DROPS = (0.005, 0.01, 0.02)
"""Losses to full depth that are certified: 0.5, 1 and 2 points of accuracy."""
CONFIDENCE = 0.95
ALL = "all"
"""Stands for the choice among all criteria."""


@dataclasses.dataclass(frozen=True)
class ExitLine:
    """One criterion, or the choice among all, in one run.

    Attributes:
        criterion: Its name, or `ALL`.
        chosen: On the reported split: the point chosen on the threshold split to go through half of the layers on
            average; None where no point goes through so few.
        held_out: The primary metric of the same point on the threshold split.
        certified: For each of `DROPS` the certified point on the reported split, which neither chose nor certified it;
            None where nothing but full depth could be certified, or was not tried.
    """

    criterion: str
    chosen: Point | None
    held_out: float | None
    certified: tuple[Point | None, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class ExitTable:
    """All criteria in one run."""

    run: FinishedRun  # the run
    reported: Trace  # trace of the split that points are shown on
    full_depth: Point  # full depth there; its ``delta_dense`` is to the dense run of the table, where there is one
    lines: tuple[ExitLine, ...]  # the criteria in the order of their table, the choice among all of them last


def make_exit_tables(runs: Sequence[FinishedRun]) -> list[ExitTable]:
    """Compare criteria in each run that has early heads and a threshold split; empty where none has.

    A run without early heads among them, if there is just one, is the dense run that the full depth of the others is
    compared with.
    """
    traces = {run: read_traces(run) for run in runs}
    early = [run for run in runs if traces[run].get("threshold") is not None and traces[run].has_early_heads]
    dense = [traces[run].reported for run in runs if not traces[run].has_early_heads]
    return [_exit_table(run, traces[run], dense[0] if len(dense) == 1 else None) for run in early]


def halfway_point(held_out: Trace, points: Sequence[OperatingPoint]) -> OperatingPoint | None:
    """Choose on the threshold split how to go through half of the layers on average, or a little less.

    A point fits where its mean depth and one standard error of it are within half, so that other texts mostly stay
    within half as well. Of the points that differ in their threshold alone the deepest that fits stands for all, rather
    than the most accurate: so many thresholds differ by chance. Among those the most accurate is taken, then the
    cheapest.

    Args:
        held_out: Trace of the threshold split.
        points: The operating points.

    Returns:
        The point; None where none goes through so few layers.
    """
    grid = measure_grid(held_out, points)
    depths = np.asarray(held_out.head_depths)[exit_heads(held_out, points)]
    upper = grid.avg_depth + depths.std(axis=1) / np.sqrt(len(held_out))
    best: dict[tuple[Any, ...], tuple[float, float, int]] = {}
    for i, point in enumerate(points):
        family, depth = (*point.family, point.threshold is None), float(grid.avg_depth[i])
        if upper[i] <= held_out.num_layers / 2 and depth > best.get(family, (0.0, 0.0, 0))[0]:
            best[family] = (depth, float(grid.values[i]), i)
    if not best:
        return None
    return points[max(best.values(), key=lambda found: (found[1], -grid.flops_ratio[found[2]]))[2]]


def _exit_table(run: FinishedRun, traces: RunTraces, dense: Trace | None) -> ExitTable:
    held_out, reported = traces.need("threshold", "exits"), traces.reported
    full = reported.full_depth
    same = dense is not None and np.array_equal(dense.labels, reported.labels)
    dense_logits = dense.full_depth if dense is not None and same else None
    halfway = {name: halfway_point(held_out, points) for name, points in early_exit_points(held_out).items()}
    halfway[ALL] = halfway_point(held_out, [point for point in halfway.values() if point is not None])
    lines = [
        ExitLine(
            name,
            None if point is None else measure_point(reported, point, full),
            None if point is None else float(measure_grid(held_out, [point]).values[0]),
            tuple(_certified(run, traces, drop, () if name == ALL else (name,)) for drop in DROPS),
        )
        for name, point in halfway.items()
    ]
    return ExitTable(run, reported, measure_point(reported, FULL_DEPTH, full, dense_logits), tuple(lines))


def _certified(run: FinishedRun, traces: RunTraces, drop: float, criteria: tuple[str, ...]) -> Point | None:
    settings = CertifySettings(max_drop=drop, confidence=CONFIDENCE, criteria=criteria)
    try:
        return make_certificate({run.name: traces}, settings).reported
    except ValueError as error:  # a split that is missing, too small or unfit, or no sequence leaves early
        log.info("%s, %s: %s", run.name, ", ".join(criteria) or ALL, error)
        return None


def _points(table: ExitTable) -> Iterator[tuple[Point, str]]:
    """Yield every point of a table with a note of what it is."""
    yield table.full_depth, "full depth"
    for line in table.lines:
        among = "the best of all criteria, " if line.criterion == ALL else ""
        if line.chosen is not None:
            yield line.chosen, f"{among}half of the layers on the threshold split"
        for drop, certified in zip(DROPS, line.certified, strict=True):
            if certified is not None:
                yield certified, f"{among}accuracy gap certified at {drop:g} with {CONFIDENCE:.0%} confidence"


def exit_rows(tables: Sequence[ExitTable]) -> list[Row]:
    """Return every point of the tables as a results row, on the reported split."""
    return [
        point_row(table.run, table.reported, point) | {"note": note}
        for table in tables
        for point, note in _points(table)
    ]
