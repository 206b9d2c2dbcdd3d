"""All exit criteria side by side: operating points chosen on the threshold split, shown on the reported one."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eat.benchmark.latency.model import LatencyModel
from eat.exits import EXITS
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.traces.grid import Grid, measure_grid
from eat.traces.replay import replay
from eat.traces.sweeps import criterion_points, score_quantiles
from eat.traces.trace import Trace

DRAWN_EVERY = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Every criterion over its thresholds, and the best operating points of all; grids are of the reported split.

    ``latency_ms`` is the predicted mean time of a call at each point of a grid; None where no latency model is known.
    """

    criteria: Mapping[str, Grid]  # criterion -> some of its operating points
    front: tuple[OperatingPoint, ...]  # the Pareto front of them all on the threshold split, cheapest first
    reported: Grid  # the same points
    full_depth: Grid  # full depth
    latency_ms: Mapping[Grid, Float[np.ndarray, " points"]] | None


def compare_criteria(held_out: Trace, reported: Trace, latency: LatencyModel | None = None) -> Comparison | None:
    """Sweep every criterion that the trace of the threshold split allows; None where there is no early head."""
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
        times = {  # mean of the split's calls, in its own order
            grid: np.array([latency.predict_ms(replay(reported, point)).mean() for point in grid.points])
            for grid in (*criteria.values(), shown, full)
        }
    return Comparison(criteria, front, shown, full, times)


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
