"""An ELUE-style score: how far a method's quality-over-FLOPs front lies above models that are simply shallower."""

from collections.abc import Sequence

import numpy as np

from eat.evaluation.criteria import pareto_front
from eat.exits.points import FULL_DEPTH
from eat.results.choice import choosing_trace, swept_points
from eat.results.collect import LoggedRun
from eat.traces.grid import measure_grid

Curve = Sequence[tuple[float, float]]
"""(FLOPs, quality) of operating points, in any order and unit."""


def elue_score(front: Curve, static: Curve) -> float | None:
    """Return the mean height of a front over the static curve, in points (hundredths) of quality.

    After ELUE (Liu et al. 2022, arXiv 2110.07038), which interpolates its static models' quality over FLOPs and
    averages a submission's difference to it over the submission's points. A mean over points depends on which
    thresholds were swept, so here it is over FLOPs: the area between both curves, each linear between its points, over
    the FLOPs that both cover, divided by the width of that range. A method with one point has its difference there.
    Beyond the static models' FLOPs nothing is extrapolated.

    Args:
        front: The method's operating points, those that no other beats.
        static: The same backbone with its first n layers, trained so, at full depth.

    Returns:
        The score; above 0 where the method beats shallower models. None where fewer than two static models, or no
        FLOPs in common, leave nothing to compare.
    """
    ours, theirs = _sorted(front), _sorted(static)
    if len(theirs) < 2 or len(ours) < 1:
        return None
    low, high = max(ours[0, 0], theirs[0, 0]), min(ours[-1, 0], theirs[-1, 0])
    if low > high:
        return None
    knots = np.unique(np.concatenate(([low, high], ours[:, 0], theirs[:, 0])))
    knots = knots[(knots >= low) & (knots <= high)]
    above = np.interp(knots, *ours.T) - np.interp(knots, *theirs.T)
    mean = above[0] if low == high else np.trapezoid(above, knots) / (high - low)
    return 100 * float(mean)


def front(run: LoggedRun) -> list[tuple[float, float]]:
    """Return (GFLOPs, quality) of a run's front on the reported split.

    Its own criterion is swept; which points are on the front follows from the split that thresholds are chosen on.
    """
    points = [FULL_DEPTH, *swept_points(run)]
    held_out, reported = choosing_trace(run), run.traces.reported
    best = [points[i] for i in pareto_front(measure_grid(held_out, points))]
    grid = measure_grid(reported, best)
    gflops = grid.flops_ratio * float(reported.costs.dense.mean()) / 1e9
    return list(zip(gflops.tolist(), grid.values.tolist(), strict=True))


def _sorted(curve: Curve) -> np.ndarray:
    """Return points by ascending FLOPs; of several at one place, their mean."""
    by_flops: dict[float, list[float]] = {}
    for flops, value in curve:
        by_flops.setdefault(float(flops), []).append(float(value))
    return np.array([(flops, np.mean(by_flops[flops])) for flops in sorted(by_flops)]).reshape(-1, 2)
