"""All exit criteria side by side: operating points chosen on the threshold split, shown on the reported one."""

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from eat.benchmark.latency.model import LatencyModel
from eat.evaluation.findings import FULL_DEPTH
from eat.evaluation.report.rows import point_rows
from eat.evaluation.report.table import Row
from eat.exits import EXITS, ThresholdExit, build_exit
from eat.runs.finished import FinishedRun
from eat.traces.costs import Costs
from eat.traces.grid import Grid, measure_grid
from eat.traces.quality import measure_point
from eat.traces.replay import ExitSpec, normalised, replay, suits
from eat.traces.trace import Trace

NUM_THRESHOLDS = 200
"""Tried for each criterion and patience, at equal steps of its own scores: as fine for one criterion as for another."""
DRAWN_EVERY = 5
DECIMALS = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Every criterion over its thresholds, and the best operating points of all.

    Attributes:
        criteria: Criterion -> some of its operating points, as measured on the reported split.
        front: The Pareto front of all criteria and full depth on the threshold split, cheapest first.
        reported: The same points as measured on the reported split.
        full_depth: Full depth on the reported split.
        latency_ms: Predicted mean time of a call at each point of ``criteria``, ``reported`` and ``full_depth``, by the
            grid it belongs to; None where no latency model is known.
    """

    criteria: Mapping[str, Grid]
    front: tuple[ExitSpec, ...]
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
    specs = {name: tuple(criterion_specs(name, held_out)) for name in EXITS if name != FULL_DEPTH["name"]}
    specs = {name: points for name, points in specs.items() if points}
    costs = Costs(reported)
    every = (FULL_DEPTH, *(spec for points in specs.values() for spec in points))
    tried = measure_grid(held_out, every)
    front = tuple(every[i] for i in pareto_front(tried))
    criteria = {name: measure_grid(reported, _thinned(points), costs) for name, points in specs.items()}
    shown, full = measure_grid(reported, front, costs), measure_grid(reported, (FULL_DEPTH,), costs)
    times = None
    if latency is not None:
        times = {grid: _predicted_ms(reported, grid, latency) for grid in (*criteria.values(), shown, full)}
    return Comparison(criteria, front, shown, full, times)


def pareto_rows(run: FinishedRun, held_out: Trace, reported: Trace, comparison: Comparison) -> list[Row]:
    """Return the front's points as rows: as chosen on the threshold split, then as they are on the reported one."""
    rows: list[Row] = []
    for trace in (held_out, reported):
        costs, full = Costs(trace), trace.all_logits[:, -1]
        rows += point_rows(run, trace, [measure_point(trace, spec, costs, full) for spec in comparison.front])
    return rows


def criterion_specs(name: str, trace: Trace) -> Iterator[ExitSpec]:
    """Yield a criterion's operating points: every patience, and thresholds between its own scores on a trace.

    Nothing where the criterion does not suit what the model predicts.
    """
    parameters = inspect.signature(EXITS[name]).parameters
    num_early = len(trace.head_depths) - 1
    for patience in range(1, num_early + 1) if "patience" in parameters else (None,):
        spec = normalised({"name": name, "patience": patience})
        criterion = build_exit(spec)
        if not suits(criterion, trace):
            return
        if "threshold" not in spec:
            yield spec
        if isinstance(criterion, ThresholdExit):
            for threshold in _thresholds(trace, criterion):
                yield {**spec, "threshold": threshold}


def pareto_front(grid: Grid) -> Int[np.ndarray, " front"]:
    """Return which points no other beats, cheapest first: each is worth more than all that cost as little or less.

    Of points that are worth and cost the same the first one stays; points whose metric is undefined (NaN) never do.
    """
    values = np.where(np.isnan(grid.values), -np.inf, grid.values)
    order = np.lexsort((-values, grid.flops_ratio))
    before = np.maximum.accumulate(np.concatenate(([-np.inf], values[order][:-1])))
    return order[values[order] > before]


def _thinned(specs: Sequence[ExitSpec]) -> list[ExitSpec]:
    """Keep the first, every few, and the last of the points that differ in their threshold alone."""
    families: dict[tuple[Any, bool], list[ExitSpec]] = {}
    for spec in specs:
        families.setdefault((spec.get("patience"), "threshold" in spec), []).append(spec)
    return [spec for family in families.values() for spec in (*family[:-1:DRAWN_EVERY], family[-1])]


def _thresholds(trace: Trace, criterion: ThresholdExit) -> list[float]:
    history = torch.from_numpy(trace.all_logits).transpose(0, 1)
    scores = torch.cat([criterion.score(history[: head + 1]) for head in range(len(history) - 1)]).double().numpy()
    scores = scores[np.isfinite(scores)]
    if len(scores) == 0:
        return []
    steps = np.quantile(scores, np.linspace(0, 1, NUM_THRESHOLDS))
    return np.unique(np.round(np.maximum(steps, 0.0), DECIMALS)).tolist()


def _predicted_ms(trace: Trace, grid: Grid, latency: LatencyModel) -> Float[np.ndarray, " points"]:
    """Predict the mean time of a call over the split, in its own order."""
    criteria = [build_exit(spec) for spec in grid.specs]
    calls = [latency.predict_ms(replay(trace, criterion), early_heads=criterion.active) for criterion in criteria]
    return np.array([call.mean() for call in calls])
