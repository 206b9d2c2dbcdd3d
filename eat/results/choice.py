"""At which operating point a table shows a run."""

import numpy as np

from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.results.collect import LoggedRun
from eat.traces.grid import measure_grid
from eat.traces.sweeps import FINE_THRESHOLDS, sweep
from eat.traces.trace import Trace


def chosen_point(run: LoggedRun, within: float | None) -> OperatingPoint:
    """Return the run's own point; with ``within`` the cheapest that loses at most so many points to full depth.

    What it loses is measured on the split that thresholds are chosen on (`choosing_trace`).
    """
    if within is None:
        return run.own
    points = [FULL_DEPTH, *swept_points(run)]
    grid = measure_grid(choosing_trace(run), points)
    fits = np.flatnonzero(grid.values >= grid.values[0] - within / 100 - 1e-12)
    return points[fits[np.argmin(grid.flops_ratio[fits])]] if len(fits) else FULL_DEPTH


def swept_points(run: LoggedRun) -> list[OperatingPoint]:
    """List the run's own criterion at every threshold, or patience."""
    heads = len(run.traces.reported.head_depths)
    return sweep(run.own, heads, FINE_THRESHOLDS) if heads > 1 else [run.own]


def choosing_trace(run: LoggedRun) -> Trace:
    """Return the trace that thresholds are chosen on: the threshold split's, or the reported one's without it."""
    return run.traces.get("threshold") or run.traces.reported


def chooses_on_reported(run: LoggedRun) -> bool:
    """Return True where nothing was held out to choose on, so that choices are made on the reported split."""
    return bool(choosing_trace(run).metadata["reported"])
