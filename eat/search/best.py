"""The best of a study: a trial and its operating point."""

import dataclasses
from collections.abc import Sequence

from eat.search.settings import SearchSettings
from eat.search.study import Trial
from eat.search.value import ROUNDING, Point, Value, cheapest


@dataclasses.dataclass(frozen=True)
class Best:
    """What a search recommends."""

    trial: Trial
    point: Point


def find_best(trials: Sequence[Trial], settings: SearchSettings) -> Best | None:
    """Find what a search recommends; None where no trial is complete, and the earlier of two that are equal.

    With flops that is, of all operating points of all trials, the cheapest one whose quality is at most ``max_drop``
    below the best full depth of the study; else the trial with the best full depth.
    """
    complete = measured(trials)
    if not complete:
        return None
    top = max(value.full_depth.quality for _, value in complete)
    if not settings.counts_flops:
        return next(Best(trial, value.full_depth) for trial, value in complete if value.full_depth.quality == top)
    least = top - settings.max_drop
    good = [(trial, value) for trial, value in complete if value.front[-1].quality >= least - ROUNDING]
    found = [Best(trial, cheapest(value.front, least)) for trial, value in good]
    return min(found, key=lambda best: (best.point.flops_ratio, -best.point.quality))


def measured(trials: Sequence[Trial]) -> list[tuple[Trial, Value]]:
    """Return the trials that are complete, with what they are worth."""
    return [(trial, trial.value) for trial in trials if trial.value is not None]


def common_front(trials: Sequence[Trial]) -> list[Point]:
    """Return the operating points of all trials that no other beats, cheapest first."""
    points = [point for _, value in measured(trials) for point in value.front]
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.flops_ratio, -point.quality)):
        if not front or point.quality > front[-1].quality:
            front.append(point)
    return front
