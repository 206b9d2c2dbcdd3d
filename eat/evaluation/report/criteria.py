"""All exit criteria side by side: quality against executed work, and against predicted latency where it is known."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes

from eat.evaluation.context import Evaluation
from eat.evaluation.criteria import Comparison
from eat.evaluation.report.figures import drawing, metric_name, value_range
from eat.evaluation.report.rows import point_row
from eat.evaluation.report.section import Section
from eat.exits import EXITS
from eat.traces.grid import Grid
from eat.traces.quality import measure_point
from eat.traces.trace import Trace

LOOKS = (
    *(("#0072B2", "-", "o"), ("#E69F00", "-", "s"), ("#D55E00", "-", "^"), ("#56B4E9", "--", "v")),
    *(("#009E73", "-", "D"), ("#CC79A7", ":", "P"), ("#8C6D31", "-", "X"), ("#666666", "-", "<")),
)
"""Colour, line and marker of each criterion, in the order of the table; some criteria may decide alike."""

Column = Callable[[Grid], Float[np.ndarray, " points"]]


def criteria_section(run: Evaluation, comparison: Comparison) -> Section:
    """Lay out criteria.png and pareto.csv: the front as chosen on the threshold split, then on the reported one."""
    held_out, reported = run.traces.need("threshold", "sweep"), run.traces.reported
    rows = [
        point_row(run.run, trace, measure_point(trace, point, trace.full_depth))
        for trace in dict.fromkeys((held_out, reported))
        for point in comparison.front
    ]
    draw = partial(draw_comparison, comparison, reported, chosen_on=run.traces.thresholds_from)
    return Section(files={"criteria.png": draw}, rows={"pareto.csv": rows})


def draw_comparison(
    comparison: Comparison, trace: Trace, path: Path, *, chosen_on: str = "the threshold split"
) -> None:
    """Draw each criterion over its thresholds, a line for each patience; ring the front of the split that chose."""
    times = comparison.latency_ms
    with drawing(path, 10.5 if times else 7.2, 4.4) as figure:
        panels = figure.subplots(1, 2 if times else 1, sharey=True, squeeze=False)[0]
        _draw(panels[0], comparison, lambda grid: grid.flops_ratio, chosen_on)
        panels[0].set(xlabel="executed FLOPs / dense, unpadded, full depth")
        if times:
            _draw(panels[1], comparison, times.__getitem__, chosen_on)
            panels[1].set(xlabel="predicted mean time of a call, ms")
        grids = (*comparison.criteria.values(), comparison.full_depth)
        panels[0].set_ylim(*value_range(np.concatenate([grid.values for grid in grids]).tolist()))
        task, split = trace.task, trace.split
        panels[0].set_ylabel(f"{metric_name(task.metrics[0])}, {task.name} {split} ({len(trace):,} examples)")
        if trace.all_logits.shape[2] == 2:
            panels[0].set_title("with two classes confidence, entropy and margin decide alike")
        panels[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)


def _draw(axes: Axes, comparison: Comparison, cost: Column, chosen_on: str) -> None:
    for name, grid in comparison.criteria.items():
        colour, line, marker = LOOKS[list(EXITS).index(name) % len(LOOKS)]
        label = name
        for points in _lines(grid):
            x, y = cost(grid)[points], grid.values[points]
            axes.plot(x, y, line, color=colour, marker=marker, markersize=3, linewidth=0.8, alpha=0.7, label=label)
            label = ""
    full, front = comparison.full_depth, comparison.reported
    axes.plot(cost(full), full.values, "*", color="black", markersize=10, linestyle="none", label="full depth")
    axes.scatter(
        cost(front),
        front.values,
        s=70.0,
        facecolors="none",
        edgecolors="black",
        zorder=3.0,
        label=f"Pareto front of all,\nchosen on {chosen_on}",
    )


def _lines(grid: Grid) -> Iterator[Int[np.ndarray, " points"]]:
    """Yield the points that differ in their threshold alone: a line for each patience."""
    patience = np.array([point.patience or 0 for point in grid.points])
    thresholded = np.array([point.threshold is not None for point in grid.points])
    for value in np.unique(patience):
        for has_threshold in (False, True):
            points = np.flatnonzero((patience == value) & (thresholded == has_threshold))
            if len(points):
                yield points
