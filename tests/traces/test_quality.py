"""Operating points: cost equals the live encoder's, quality equals the task's metrics."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.tasks.metrics import accuracy
from eat.traces.quality import difference, head_calibration, measure_point, predictions
from eat.traces.trace import RecordedTask, Trace
from tests.made.models import make_batches

SCORES = RecordedTask("made_up", "regression", (), ("pearson", "spearman"), 1)


@pytest.mark.parametrize(
    "spec", [{"name": "never"}, {"name": "confidence", "threshold": 0.7}, {"name": "patience", "patience": 1}]
)
def test_cost_equals_the_live_encoders(
    model: AdaptiveForSequenceClassification, trace: Trace, spec: dict[str, object]
) -> None:
    model.set_exit(**spec)
    executed, dense = [], []
    with torch.inference_mode():
        for batch in make_batches():
            output = model(batch["input_ids"], lengths=batch["lengths"])
            executed.append(model.flops(output.tokens_kept, output.exit_depth))
            dense.append(model.dense_flops(batch["lengths"]))
    point = measure_point(trace, OperatingPoint.of(spec))
    assert point.gflops == pytest.approx(float(torch.cat(executed).mean()) / 1e9)
    assert point.flops_ratio == pytest.approx(float(torch.cat(executed).sum() / torch.cat(dense).sum()))
    assert 0 < point.retention <= 1
    assert 1 <= point.avg_depth <= trace.num_layers


def test_full_depth_differs_from_itself_by_nothing(trace: Trace) -> None:
    point = measure_point(trace, FULL_DEPTH, trace.full_depth, trace.full_depth)
    assert point.delta == point.delta_dense
    assert point.delta is not None
    assert (point.delta.points, point.delta.low, point.delta.high, point.delta.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_metrics_are_the_tasks(trace: Trace) -> None:
    point = measure_point(trace, FULL_DEPTH)
    assert point.metrics == {"accuracy": accuracy(trace.full_depth.argmax(axis=1), trace.labels)}
    assert point.interval is not None
    assert point.interval[0] < point.metrics["accuracy"] < point.interval[1]


def test_difference_by_hand(made_trace: Callable[..., Trace]) -> None:
    labels = [1, 1, 1, 0]
    ours = np.array([[0, 1], [0, 1], [1, 0], [1, 0]], dtype=float)  # right, right, wrong, right
    theirs = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], dtype=float)  # wrong, wrong, right, right
    trace = made_trace(ours[:, None], labels, (4,))
    delta = difference(trace, ours, theirs)
    assert (delta.points, delta.gained, delta.lost, delta.p_value) == (pytest.approx(25.0), 2, 1, 1.0)
    assert delta.low <= 25.0 <= delta.high


def test_regression_has_correlations_and_no_calibration(made_trace: Callable[..., Trace]) -> None:
    said = np.array([0.1, 1.2, 1.9, 3.3])
    trace = made_trace(said[:, None, None], [0.0, 1.0, 2.0, 3.0], (4,), task=SCORES)
    assert predictions(trace.all_logits[:, -1]).tolist() == said.tolist()
    delta = difference(trace, trace.all_logits[:, -1], trace.all_logits[::-1, -1])
    assert (delta.gained, delta.p_value) == (None, None)
    with pytest.raises(ValueError, match="regression"):
        head_calibration(trace)


def test_calibration_of_a_sure_and_right_head(made_trace: Callable[..., Trace]) -> None:
    logits = np.array([[[0.0, 50.0]], [[50.0, 0.0]]])
    error, bins = head_calibration(made_trace(logits, [1, 0], (4,)))[4]
    assert error == pytest.approx(0.0, abs=1e-9)
    assert bins.counts.tolist() == [0] * 14 + [2]
