"""Replay equals live: what a criterion decides on a trace is what the encoder does."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.traces.record import record_trace
from eat.traces.replay import replay
from eat.traces.trace import Trace
from tests.made.models import TASK, make_batches, make_model

SPECS: list[dict[str, Any]] = [
    {"name": "never"},
    {"name": "confidence", "threshold": 0.55},
    {"name": "confidence", "threshold": 0.7},
    {"name": "confidence", "threshold": 1.0},
    {"name": "patience", "patience": 1},
    {"name": "patience", "patience": 2},
    {"name": "patience", "patience": 1, "threshold": 0.6},
    {"name": "entropy", "threshold": 0.9},
    {"name": "margin", "threshold": 0.2},
    {"name": "confidence", "threshold": [0.9, 0.55]},
    {"name": "patience_confidence", "patience": 2, "threshold": 0.6},
    {"name": "entropy_reduction", "threshold": 0.1},
    {"name": "agreement", "threshold": 0.6},
]


def live(model: AdaptiveForSequenceClassification, spec: dict[str, Any]) -> dict[str, np.ndarray]:
    model.set_exit(**spec)
    with torch.inference_mode():
        outputs = [model(batch["input_ids"], lengths=batch["lengths"]) for batch in make_batches()]
    names = ("logits", "exit_depth", "tokens_kept", "retention")
    return {name: torch.cat([getattr(output, name) for output in outputs]).numpy() for name in names}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: OperatingPoint.of(spec).label)
def test_replay_equals_live_in_float64(
    model: AdaptiveForSequenceClassification, trace: Trace, spec: dict[str, Any]
) -> None:
    replayed, said = replay(trace, OperatingPoint.of(spec)), live(model, spec)
    np.testing.assert_array_equal(replayed.exit_depth, said["exit_depth"])
    np.testing.assert_array_equal(replayed.tokens_kept, said["tokens_kept"])
    np.testing.assert_allclose(replayed.logits, said["logits"], atol=1e-10)
    np.testing.assert_allclose(replayed.retention, said["retention"], rtol=1e-6)


def test_replay_equals_live_in_float32_outside_near_ties() -> None:
    model = make_model(torch.float32)
    traced = record_trace(model, make_batches(), TASK)
    spec = {"name": "confidence", "threshold": 0.7}
    probabilities = torch.from_numpy(traced.all_logits).softmax(-1).amax(-1).numpy()
    clear = (np.abs(probabilities - 0.7) > 1e-5 * 0.7).all(axis=1)
    assert clear.mean() > 0.9
    replayed, said = replay(traced, OperatingPoint.of(spec)), live(model, spec)
    np.testing.assert_array_equal(replayed.exit_depth[clear], said["exit_depth"][clear])
    np.testing.assert_allclose(replayed.logits[clear], said["logits"][clear], atol=1e-4)


def test_examples_do_leave_at_different_depths(trace: Trace) -> None:
    depths = replay(trace, OperatingPoint.of({"name": "confidence", "threshold": 0.7})).exit_depth
    assert len(set(depths.tolist())) >= 3


def test_by_hand(made_trace: Callable[..., Trace]) -> None:
    # Probabilities of class 1 at depths 2 and 4: 0.9 then 0.6; 0.6 then 0.9.
    logits = np.log([[[0.1, 0.9], [0.4, 0.6]], [[0.4, 0.6], [0.1, 0.9]]])
    kept = [[10, 10, 7, 7, 0], [5, 5, 4, 4, 0]]
    replayed = replay(
        made_trace(logits, [1, 1], (2, 4), kept), OperatingPoint.of({"name": "confidence", "threshold": 0.8})
    )
    assert replayed.exit_depth.tolist() == [2, 4]
    assert replayed.tokens_kept.tolist() == [[10, 10, 0, 0, 0], [5, 5, 4, 4, 0]]
    assert replayed.retention.tolist() == [1.0, 0.8]


def test_regression_refuses_probabilities(made_trace: Callable[..., Trace]) -> None:
    scores = made_trace(np.zeros((3, 2, 1)), [0.0, 1.0, 2.0], (2, 4))
    assert replay(scores, FULL_DEPTH).exit_depth.tolist() == [4, 4, 4]
    with pytest.raises(ValueError, match="regression"):
        replay(scores, OperatingPoint.of({"name": "confidence", "threshold": 0.8}))


def test_what_does_not_suit_the_model_is_refused(trace: Trace) -> None:
    with pytest.raises(ValueError, match=r"exit\.name: 'difference' needs one predicted number"):
        replay(trace, OperatingPoint.of({"name": "difference"}))
    with pytest.raises(ValueError, match=r"one for each of the 2 classes, got 3"):
        replay(trace, OperatingPoint.of({"name": "margin", "threshold": [0.1, 0.2, 0.3]}))


def test_patience_by_difference_by_hand(made_trace: Callable[..., Trace]) -> None:
    scores = made_trace([[[1.0], [1.05], [4.0]], [[1.0], [2.0], [2.01]]], [1.0, 2.0], (1, 2, 3))
    assert replay(scores, OperatingPoint.of({"name": "difference", "threshold": 0.1})).exit_depth.tolist() == [2, 3]
