"""What one operating point is worth on one split, and what it costs."""

import dataclasses

import numpy as np
import torch
from jaxtyping import Bool, Float, Num

from eat.exits.points import OperatingPoint
from eat.ops.calibration import Reliability, expected_calibration_error, reliability
from eat.ops.confidence import max_probability
from eat.tasks.metrics import METRICS
from eat.traces.replay import replay
from eat.traces.statistics import Interval, mcnemar, paired_difference_interval, paired_share_interval, wilson_interval
from eat.traces.trace import RecordedTask, Trace


@dataclasses.dataclass(frozen=True)
class Delta:
    """Difference of the primary metric to a reference on the same examples, in points (hundredths)."""

    points: float  # this one minus the reference; below 0 where quality was lost
    low: float  # lower end of the paired bootstrap 95 % interval
    high: float  # its upper end
    gained: int | None = None  # examples that only this one has right; None in regression
    lost: int | None = None  # examples that only the reference has right; None in regression
    p_value: float | None = None  # exact McNemar test; None in regression


@dataclasses.dataclass(frozen=True)
class Point:
    """One operating point on one split."""

    exit: OperatingPoint  # the point itself
    metrics: dict[str, float]  # the task's metrics, the primary one first
    interval: Interval | None  # Wilson 95 % interval where the primary metric is accuracy
    ece: float | None  # expected calibration error (15 bins) of the exits taken, in [0, 1]; None in regression
    avg_depth: float  # mean depth at which examples leave
    retention: float  # mean over examples of tokens in the last executed block / tokens that came in
    gflops: float  # mean executed work per example, in 10^9 floating-point operations
    flops_ratio: float  # executed work / that of the unpadded dense encoder at full depth, summed over the split
    delta: Delta | None = None  # to what was given as reference: this model's own full depth
    delta_dense: Delta | None = None  # to a dense run, where one was given


def predictions(
    logits: Float[np.ndarray, "examples classes"], multi_label: bool = False
) -> Num[np.ndarray, "examples *labels"]:
    """Return the most probable class of each example, or its score where the model has one output.

    Of a multi-label task it is 1 for each label that is more probable than not, else 0.
    """
    if multi_label:
        return (logits > 0).astype(np.int8)
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(axis=1)


def same_answers(
    ours: Num[np.ndarray, "examples *labels"], theirs: Num[np.ndarray, "examples *labels"]
) -> Bool[np.ndarray, " examples"]:
    """Return True where two answers are the same; of a multi-label task where all labels are."""
    return (ours == theirs).reshape(len(ours), -1).all(axis=1)


def metric_values(
    task: RecordedTask, labels: Num[np.ndarray, "n *labels"], logits: Float[np.ndarray, "n classes"]
) -> dict[str, float]:
    """Compute the metrics of a task, the primary one first."""
    said = predictions(logits, task.kind == "multi_label")
    return {name: METRICS[name].value(said, labels, task) for name in task.metrics}


def measure_point(
    trace: Trace,
    point: OperatingPoint,
    reference: Float[np.ndarray, "n classes"] | None = None,
    dense: Float[np.ndarray, "n classes"] | None = None,
) -> Point:
    """Replay an operating point on a traced split and measure it.

    ``reference`` (full depth) and ``dense`` (a dense run) are logits for the same examples, to compare quality with.
    """
    run = replay(trace, point)
    values = metric_values(trace.task, trace.labels, run.logits)
    right = same_answers(predictions(run.logits, trace.multi_label), trace.labels)
    executed = run.flops(trace.costs)
    return Point(
        exit=point,
        metrics=values,
        interval=wilson_interval(int(right.sum()), len(trace)) if next(iter(values)) == "accuracy" else None,
        ece=None if trace.is_regression else expected_calibration_error(*_confidence(trace, run.logits)),
        avg_depth=float(run.exit_depth.mean()),
        retention=float(run.retention.mean()),
        gflops=float(executed.mean()) / 1e9,
        flops_ratio=float(executed.sum() / trace.costs.dense.sum()),
        delta=None if reference is None else difference(trace, run.logits, reference),
        delta_dense=None if dense is None else difference(trace, run.logits, dense),
    )


def difference(
    trace: Trace, logits: Float[np.ndarray, "n classes"], reference: Float[np.ndarray, "n classes"]
) -> Delta:
    """Compare two sets of answers to a trace's examples on the task's primary metric."""
    name = trace.task.metrics[0]

    def metric(said: np.ndarray, labels: np.ndarray) -> float:
        return METRICS[name].value(said, labels, trace.task)

    ours, theirs = (predictions(each, trace.multi_label) for each in (logits, reference))
    right, theirs_right = (same_answers(said, trace.labels) for said in (ours, theirs))
    points = 100 * (metric(ours, trace.labels) - metric(theirs, trace.labels))
    if name == "accuracy":
        low, high = paired_share_interval(right, theirs_right)
    else:
        low, high = paired_difference_interval(metric, trace.labels, ours, theirs)
    if trace.is_regression:
        return Delta(points, 100 * low, 100 * high)
    gained, lost, p_value = mcnemar(right, theirs_right)
    return Delta(points, 100 * low, 100 * high, gained, lost, p_value)


def head_calibration(trace: Trace, num_bins: int = 15) -> dict[int, tuple[float, Reliability]]:
    """Return each head's expected calibration error and reliability bins over the whole split, by depth.

    Raises:
        ValueError: If the model predicts a score: there is no probability to calibrate.
    """
    if trace.is_regression:
        raise ValueError("calibration needs class probabilities; a regression model has none")
    result = {}
    for head, depth in enumerate(trace.head_depths):
        sure, right = _confidence(trace, trace.all_logits[:, head])
        result[depth] = (expected_calibration_error(sure, right, num_bins), reliability(sure, right, num_bins))
    return result


def _confidence(
    trace: Trace, logits: Float[np.ndarray, "n classes"]
) -> tuple[Float[torch.Tensor, " questions"], Bool[torch.Tensor, " questions"]]:
    asked, answers = trace.questions(logits)
    return max_probability(torch.from_numpy(asked)), torch.from_numpy(predictions(asked) == answers)
