"""The figure of a search."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from eat.evaluation.report.figures import BLUE, GREY, ORANGE, drawing, metric_name, value_range
from eat.search.best import Best, common_front, measured
from eat.search.study import Trial


def draw_search(trials: Sequence[Trial], best: Best, metric: str, *, counts_flops: bool, path: Path) -> None:
    """Draw quality over FLOPs, each trial's front and the common one; without FLOPs, quality over trials."""
    with drawing(path, 6.2, 4.2) as figure:
        axes = figure.subplots()
        if counts_flops:
            _draw_fronts(axes, trials, best)
        else:
            _draw_course(axes, trials, best)
        complete = measured(trials)
        axes.set_ylim(*value_range([value.chosen.quality for _, value in complete] + [best.point.quality]))
        axes.set_ylabel(f"{metric_name(metric)}, threshold split ({complete[0][1].examples:,} examples)")
        axes.legend(fontsize=8, loc="lower right")


def _draw_fronts(axes: Axes, trials: Sequence[Trial], best: Best) -> None:
    complete = measured(trials)
    for index, (_, value) in enumerate(complete):
        line = [point.flops_ratio for point in value.front], [point.quality for point in value.front]
        axes.step(
            *line, where="post", color=GREY, linewidth=0.6, alpha=0.5, label=None if index else "front of a trial"
        )
    front = common_front(trials)
    line = [point.flops_ratio for point in front], [point.quality for point in front]
    axes.step(*line, where="post", color=BLUE, linewidth=1.4, label="front of all operating points")
    for on_front, colour, name in ((False, GREY, "trial, at its point"), (True, BLUE, "trial that no other beats")):
        chosen = [(trial, value.chosen) for trial, value in complete if trial.on_front == on_front]
        places = [point.flops_ratio for _, point in chosen], [point.quality for _, point in chosen]
        axes.plot(*places, "o", color=colour, markersize=5.5 if on_front else 3.5, label=name if chosen else None)
        for trial, point in chosen if on_front else ():
            place = (point.flops_ratio, point.quality)
            axes.annotate(str(trial.number), place, (5, -10), textcoords="offset points", fontsize=7.5, color=BLUE)
    axes.plot(
        best.point.flops_ratio, best.point.quality, "*", color=ORANGE, markersize=13, label="recommended", zorder=3
    )
    axes.set_xlabel("executed FLOPs / dense, unpadded, full depth")


def _draw_course(axes: Axes, trials: Sequence[Trial], best: Best) -> None:
    complete = measured(trials)
    numbers, values = [trial.number for trial, _ in complete], [value.full_depth.quality for _, value in complete]
    axes.step(numbers, list(itertools.accumulate(values, max)), where="post", color=BLUE, label="best so far")
    axes.plot(numbers, values, "o", color=GREY, markersize=4.5, label="trial, at full depth")
    axes.plot(best.trial.number, best.point.quality, "*", color=ORANGE, markersize=13, label="recommended", zorder=3)
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
