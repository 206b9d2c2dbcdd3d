"""Frontier of quality over latency and over executed work, labelled by the exit threshold, with baselines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from eat.evaluation.report.figures import GREY, value_range
from eat.results.figures.frontier_points import (
    Baseline,
    FrontierPoint,
    at_size,
    counted,
    counted_all_off,
    machine,
    timed,
    timed_baselines,
    timed_size,
)
from eat.results.figures.style import LOOKS, legend_below, printing
from eat.results.figures.suite import Suite

MARKS = {"huggingface_sdpa_padded": "X", "huggingface_sdpa_grouped": "x", "onnxruntime_fp32": "p"}
OTHER_MARK = "h"
SHOWN_BELOW_BEST = 0.08
"""Of the metric: what is further below the best lies outside the frame, else all that matters is one line."""

Curves = Mapping[str, Sequence[FrontierPoint]]


def draw_frontier(suite: Suite, path: Path) -> list[str]:
    """Draw quality over latency, where it was measured, and over executed work; bands are deviations over seeds."""
    work = {label: counted(suite, runs) for label, runs in suite.experiments.items()}
    size = timed_size(suite)
    latency, machines, notes = _latencies(suite, size)
    baselines = timed_baselines(suite, size) if latency and size else []
    best = on_front({label: work[label] for label in suite.of_kind("adaptive")})
    adaptive = sorted(best, key=lambda label: (label not in latency, -best[label]))
    looks = dict(zip(adaptive, LOOKS, strict=False))
    all_off = counted_all_off(suite)
    panels: list[tuple[Curves, Sequence[Baseline], str]] = [
        (work, [all_off] if all_off else [], "executed FLOPs / dense encoder's")
    ]
    if latency:
        panels.insert(0, (latency, baselines, f"mean latency at batch size {size}, ms ({machines})"))
    values = [point.value for curves, *_ in panels for points in curves.values() for point in points]
    values += [other.point.value for _, others, _ in panels for other in others]
    low, high = value_range([value for value in values if value >= max(values) - SHOWN_BELOW_BEST])
    with printing(path, 3.6, suite.subject) as figure:
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (curves, others, title) in zip(grid, panels, strict=True):
            costs = [p.cost for points in curves.values() for p in points] + [other.point.cost for other in others]
            axes.set(xlabel=title, xlim=(0.75 * min(costs), 1.06 * max(costs)), ylim=(low, high))
            _draw_marks(suite, axes, curves, others)
            _draw_others(axes, [points for label, points in curves.items() if label in adaptive and label not in looks])
            labels: list[np.ndarray] = []
            for label, look in looks.items():
                _draw_curve(axes, label, curves.get(label, ()), look, labels)
        grid[0].set_ylabel(f"{suite.metric}{' (lower points cut off)' if min(values) < low else ''}")
        _add_legend(figure, list(grid))
    return notes


def on_front(curves: Curves) -> dict[str, int]:
    """Count how many points of each curve lie on the front of all: none costs as little and is better."""
    points = [(point.cost, point.value) for points in curves.values() for point in points]
    return {
        label: sum(all(p.value >= value or cost > p.cost for cost, value in points) for p in points_of)
        for label, points_of in curves.items()
    }


def _latencies(suite: Suite, size: int | None) -> tuple[Curves, str, list[str]]:
    """Return timed curves, on what they were timed, and why there are none: times of two machines do not compare."""
    if size is None:
        return {}, "", ["frontier: no latency is drawn, none was measured; evaluate with stages=[benchmark]"]
    machines = {machine(row) for run in suite.runs for row in at_size(run.rows, size)}
    if len(machines) > 1:
        kinds = "; ".join(sorted(machines))
        return {}, "", [f"frontier: no latency is drawn, times are of {len(machines)} kinds ({kinds})"]
    found = {label: points for label, runs in suite.experiments.items() if (points := timed(runs, size))}
    return found, machines.pop(), []


def _draw_marks(suite: Suite, axes: Axes, curves: Curves, others: Sequence[Baseline]) -> None:
    """Draw what has one point and no threshold: dense and static experiments, and timed baselines."""
    for label in suite.of_kind("dense", "static"):
        run = suite.experiments[label][0]
        static = suite.kind(run) == "static"
        for point in curves.get(label, ()):
            mark, size = (f"${run.num_layers}$", 7) if static else ("*", 9)
            name = f"static {run.num_layers} layers" if static else "dense (eat)"
            aside = not static and label != suite.dense
            _mark(axes, point, mark, GREY if aside else "black", "other dense runs" if aside else name, size)
    for other in others:
        mark = MARKS.get(other.engine, OTHER_MARK) if other.num_layers is None else f"${other.num_layers}$"
        _mark(axes, other.point, mark, GREY if other.num_layers is None else "black", other.name, 7)


def _mark(axes: Axes, point: FrontierPoint, mark: str, colour: str, name: str, size: int) -> None:
    where = {"x": point.cost, "y": point.value, "yerr": point.deviation or None}
    axes.errorbar(**where, marker=mark, color=colour, markersize=size, linestyle="none", elinewidth=0.8, label=name)  # type: ignore[arg-type]


def _draw_others(axes: Axes, curves: Sequence[Sequence[FrontierPoint]]) -> None:
    """Draw adaptive experiments for which no colour is left as thin lines."""
    for number, points in enumerate(curves):
        name = "" if number else "other experiments"
        axes.plot(*_places(points), ".-", color="#BBBBBB", linewidth=0.7, markersize=3, zorder=1, label=name)


def _draw_curve(
    axes: Axes, label: str, points: Sequence[FrontierPoint], look: Mapping[str, Any], labels: list[np.ndarray]
) -> None:
    """Draw an experiment; ``labels`` holds where text stands already, and grows."""
    costs, values = _places(points)
    axes.plot(costs, values, **look, linewidth=1.2, markersize=4, label=label)
    deviations = np.array([point.deviation for point in points])
    if deviations.any():
        axes.fill_between(costs, values - deviations, values + deviations, color=look["color"], alpha=0.15, linewidth=0)
    to_axes = axes.transData + axes.transAxes.inverted()
    for point in points:
        place = to_axes.transform((point.cost, point.value))
        covered = any(np.abs(place - other)[1] < 0.05 and np.abs(place - other)[0] < 0.13 for other in labels)
        if not covered and (place >= 0).all() and (place <= 1).all():
            labels.append(place)
            where = (point.cost, point.value)
            text = axes.annotate(point.label, where, (5, -8), textcoords="offset points", fontsize=6.5, zorder=4)
            text.set(color=look["color"], path_effects=[withStroke(linewidth=1.5, foreground="white")])


def _places(points: Sequence[FrontierPoint]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([point.cost for point in points]), np.array([point.value for point in points])


def _add_legend(figure: Figure, grid: Sequence[Axes]) -> None:
    entries: dict[str, Any] = {}
    for axes in grid:
        handles, names = axes.get_legend_handles_labels()
        entries = dict(zip(names, handles, strict=True)) | entries
    legend_below(figure, list(entries.values()), list(entries))
