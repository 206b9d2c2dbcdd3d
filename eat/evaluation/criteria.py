"""All exit criteria side by side: operating points chosen on the threshold split, shown on the reported one."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eat.benchmark.latency.model import LatencyModel
from eat.evaluation.report.rows import point_rows
from eat.evaluation.report.table import Row
from eat.exits import EXITS
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.runs.finished import FinishedRun
from eat.traces.grid import Grid, measure_grid
from eat.traces.quality import measure_point
from eat.traces.replay import replay
from eat.traces.sweeps import criterion_points, score_quantiles
from eat.traces.trace import Trace

DRAWN_EVERY = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Every criterion over its thresholds, and the best operating points of all.

    Attributes:
        criteria: Criterion -> some of its operating points, as measured on the reported split.
        front: The Pareto front of them all on the threshold split, cheapest first.
        reported: The same points as measured on the reported split.
        full_depth: Full depth on the reported split.
        latency_ms: Predicted mean time of a call at each point of ``criteria``, ``reported`` and ``full_depth``, by the
            grid it belongs to; None where no latency model is known.
    """

    criteria: Mapping[str, Grid]
    front: tuple[OperatingPoint, ...]
    reported: Grid
    full_depth: Grid
    latency_ms: Mapping[Grid, Float[np.ndarray, " points"]] | None


def compare_criteria(held_out: Trace, reported: Trace, latency: LatencyModel | None = None) -> Comparison | None:
    """Sweep every criterion that the trace allows; None where there is no early head.

    Args:
        held_out: Trace of the threshold split: points are chosen here.
        reported: Trace of the split on which they are shown.
        latency: What a call takes, where it was calibrated.
    """
    if len(held_out.head_depths) == 1:
        return None
    specs = early_exit_points(held_out)
    every = (FULL_DEPTH, *(point for points in specs.values() for point in points))
    tried = measure_grid(held_out, every)
    front = tuple(every[i] for i in pareto_front(tried))
    criteria = {name: measure_grid(reported, _thinned(points)) for name, points in specs.items()}
    shown, full = measure_grid(reported, front), measure_grid(reported, (FULL_DEPTH,))
    times = None
    if latency is not None:
        times = {grid: _predicted_ms(reported, grid, latency) for grid in (*criteria.values(), shown, full)}
    return Comparison(criteria, front, shown, full, times)


def pareto_rows(run: FinishedRun, held_out: Trace, reported: Trace, comparison: Comparison) -> list[Row]:
    """Return the front's points as rows: as chosen on the threshold split, then as they are on the reported one."""
    rows: list[Row] = []
    for trace in (held_out, reported):
        rows += point_rows(run, trace, [measure_point(trace, point, trace.full_depth) for point in comparison.front])
    return rows


def early_exit_points(trace: Trace) -> dict[str, tuple[OperatingPoint, ...]]:
    """List the points of every criterion that suits a trace, at thresholds between its own scores there."""
    tried = {name: tuple(criterion_points(name, trace, score_quantiles(trace))) for name in EXITS}
    return {name: points for name, points in tried.items() if points and name != FULL_DEPTH.name}


def pareto_front(grid: Grid) -> Int[np.ndarray, " front"]:
    """Return which points no other beats, cheapest first: each is worth more than all that cost as little or less.

    Of points that are worth and cost the same the first one stays; points whose metric is undefined (NaN) never do.
    """
    values = np.where(np.isnan(grid.values), -np.inf, grid.values)
    order = np.lexsort((-values, grid.flops_ratio))
    before = np.maximum.accumulate(np.concatenate(([-np.inf], values[order][:-1])))
    return order[values[order] > before]


def _thinned(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """Keep the first, every few, and the last of the points that differ in their threshold alone."""
    families: dict[tuple[Any, bool], list[OperatingPoint]] = {}
    for point in points:
        families.setdefault((point.patience, point.threshold is not None), []).append(point)
    return [point for family in families.values() for point in (*family[:-1:DRAWN_EVERY], family[-1])]


def _predicted_ms(trace: Trace, grid: Grid, latency: LatencyModel) -> Float[np.ndarray, " points"]:
    """Predict the mean time of a call over the split, in its own order."""
    return np.array([latency.predict_ms(replay(trace, point)).mean() for point in grid.points])
