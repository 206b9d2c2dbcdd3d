"""Thousands of operating points of a trace at once: who leaves where, what they are worth and what they cost."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int8

from eat.exits import ThresholdExit, check_exit
from eat.exits.points import OperatingPoint
from eat.exits.threshold import Threshold
from eat.tasks.metrics import METRICS
from eat.traces.quality import predictions
from eat.traces.replay import exit_head
from eat.traces.trace import Trace

MAX_COMPARISONS = 2**22
"""Scores compared with thresholds at once: bounds memory on long splits."""


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """What operating points are worth on a split, in their order."""

    points: tuple[OperatingPoint, ...]
    values: Float64[np.ndarray, " points"]  # of the task's primary metric
    avg_depth: Float64[np.ndarray, " points"]  # as in `eat.traces.quality.Point`
    flops_ratio: Float64[np.ndarray, " points"]  # likewise


def measure_grid(trace: Trace, points: Sequence[OperatingPoint]) -> Grid:
    """Replay and measure operating points on a traced split; those that decide alike are measured once."""
    costs = trace.costs
    metric = METRICS[trace.task.metrics[0]].value
    said = np.stack([predictions(logits, trace.multi_label) for logits in np.moveaxis(trace.all_logits, 1, 0)], axis=1)
    depths, rows, dense = np.asarray(trace.head_depths), np.arange(len(trace)), costs.dense.sum()
    known: dict[tuple[bool, bytes], tuple[float, float, float]] = {}
    measured = np.empty((3, len(points)))
    active = [point.build().active for point in points]
    for index, heads in enumerate(exit_heads(trace, points)):
        key = active[index], heads.tobytes()
        if key not in known:
            executed = costs.by_head[rows, heads] if active[index] else costs.without_early_heads
            value = float(metric(said[rows, heads], trace.labels, trace.task))
            known[key] = value, float(depths[heads].mean()), float(executed.sum() / dense)
        measured[:, index] = known[key]
    return Grid(tuple(points), *measured)


def exit_heads(trace: Trace, points: Sequence[OperatingPoint]) -> Int8[np.ndarray, "points examples"]:
    """Return at which head (0 for the first) each example leaves, at each of many operating points.

    Points that differ in nothing but their threshold share one pass over the scores.
    """
    heads = np.empty((len(points), len(trace)), dtype=np.int8)
    families: dict[tuple[Any, ...], list[int]] = {}
    for index, point in enumerate(points):
        families.setdefault(point.family, []).append(index)
    for members in families.values():
        criteria = [points[index].build() for index in members]
        for criterion in criteria:
            check_exit(criterion, trace.all_logits.shape[2], trace.multi_label)
        thresholded = [criterion for criterion in criteria if isinstance(criterion, ThresholdExit)]
        heads[members] = _family_heads(trace, thresholded) if thresholded else exit_head(trace, criteria[0])
    return heads


def _family_heads(trace: Trace, criteria: Sequence[ThresholdExit]) -> Int8[np.ndarray, "points examples"]:
    """Score each head once and compare the scores with the thresholds of all criteria, as each would live."""
    history = trace.exit_history
    early = range(len(history) - 1)
    scores = [criteria[0].score(history[: head + 1]) for head in early]
    predicted = history.argmax(-1)
    bounds = _matrix([criterion.bound(history.shape[2]) for criterion in criteria])
    heads = np.full((len(criteria), len(trace)), len(early), dtype=np.int8)
    size = max(1, MAX_COMPARISONS // len(trace))
    for start in range(0, len(criteria), size):
        chunk = heads[start : start + size]
        for head in reversed(early):  # the earliest head that lets an example go wins
            score, bound = scores[head], bounds[start : start + size].to(scores[head].dtype)
            if bound.shape[1] > 1:
                bound = bound[:, predicted[head]]
            leaves = criteria[0].compare(score.expand(len(chunk), -1), bound)
            np.copyto(chunk, np.int8(head), where=leaves.numpy())
    return heads


def _matrix(bounds: Sequence[Threshold]) -> Float64[torch.Tensor, "points classes"]:
    """Stack bounds, one column where all are single numbers, else one per class."""
    classes = max(len(bound) if isinstance(bound, Sequence) else 1 for bound in bounds)
    lines = [bound if isinstance(bound, Sequence) else (bound,) * classes for bound in bounds]
    return torch.tensor(lines, dtype=torch.float64)
