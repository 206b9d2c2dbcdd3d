"""Replay equals live: what a criterion decides on a trace is what the encoder does."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from eat.exits import build_exit
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.traces.replay import distinct, label, normalised, point_order, replay, sweep_specs, with_thresholds
from eat.traces.trace import Trace, record_trace
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


@pytest.mark.parametrize("spec", SPECS, ids=label)
def test_replay_equals_live_in_float64(
    model: AdaptiveForSequenceClassification, trace: Trace, spec: dict[str, Any]
) -> None:
    replayed, said = replay(trace, build_exit(spec)), live(model, spec)
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
    replayed, said = replay(traced, build_exit(spec)), live(model, spec)
    np.testing.assert_array_equal(replayed.exit_depth[clear], said["exit_depth"][clear])
    np.testing.assert_allclose(replayed.logits[clear], said["logits"][clear], atol=1e-4)


def test_examples_do_leave_at_different_depths(trace: Trace) -> None:
    depths = replay(trace, build_exit({"name": "confidence", "threshold": 0.7})).exit_depth
    assert len(set(depths.tolist())) >= 3


def test_by_hand(made_trace: Callable[..., Trace]) -> None:
    # Probabilities of class 1 at depths 2 and 4: 0.9 then 0.6; 0.6 then 0.9.
    logits = np.log([[[0.1, 0.9], [0.4, 0.6]], [[0.4, 0.6], [0.1, 0.9]]])
    kept = [[10, 10, 7, 7, 0], [5, 5, 4, 4, 0]]
    replayed = replay(made_trace(logits, [1, 1], (2, 4), kept), build_exit({"name": "confidence", "threshold": 0.8}))
    assert replayed.exit_depth.tolist() == [2, 4]
    assert replayed.tokens_kept.tolist() == [[10, 10, 0, 0, 0], [5, 5, 4, 4, 0]]
    assert replayed.retention.tolist() == [1.0, 0.8]


def test_regression_refuses_probabilities(made_trace: Callable[..., Trace]) -> None:
    scores = made_trace(np.zeros((3, 2, 1)), [0.0, 1.0, 2.0], (2, 4))
    assert replay(scores, build_exit({"name": "never"})).exit_depth.tolist() == [4, 4, 4]
    with pytest.raises(ValueError, match="regression"):
        replay(scores, build_exit({"name": "confidence", "threshold": 0.8}))


def test_what_does_not_suit_the_model_is_refused(trace: Trace) -> None:
    with pytest.raises(ValueError, match=r"exit\.name: 'difference' needs one predicted number"):
        replay(trace, build_exit({"name": "difference"}))
    with pytest.raises(ValueError, match=r"one for each of the 2 classes, got 3"):
        replay(trace, build_exit({"name": "margin", "threshold": [0.1, 0.2, 0.3]}))


def test_patience_by_difference_by_hand(made_trace: Callable[..., Trace]) -> None:
    scores = made_trace([[[1.0], [1.05], [4.0]], [[1.0], [2.0], [2.01]]], [1.0, 2.0], (1, 2, 3))
    assert replay(scores, build_exit({"name": "difference", "threshold": 0.1})).exit_depth.tolist() == [2, 3]


def test_a_threshold_per_class_has_a_name_and_a_place() -> None:
    spec = {"name": "confidence", "threshold": (0.8, 1.0)}
    assert normalised(spec) == {"name": "confidence", "threshold": [0.8, 1.0]}
    assert label(normalised(spec)) == "confidence threshold=0.8,1"
    assert point_order(spec) == (0, 0.9)
    assert [s["threshold"] for s in with_thresholds(spec, [0.5, 0.6])] == [0.5, 0.6]
    many = [{"name": "margin", "threshold": [i / 200, *[0.5] * 150]} for i in (1, 2)]
    assert len(label(many[0])) < 60
    assert label(many[0]) != label(many[1])


def test_specs_hold_the_papers_thresholds() -> None:
    thresholds = {spec["threshold"] for spec in sweep_specs({"name": "confidence", "threshold": 0.9}, num_heads=2)}
    assert {0.80, 0.85, 0.90, 0.95, 1.0} <= thresholds


@pytest.mark.parametrize(
    ("spec", "num_heads", "swept"),
    [
        ({"name": "never"}, 4, [{"name": "never"}]),
        ({"name": "patience", "patience": 2}, 4, [{"name": "patience", "patience": p} for p in (1, 2, 3)]),
        ({"name": "patience"}, 1, [{"name": "patience", "patience": 1}]),
    ],
)
def test_specs_without_thresholds(spec: dict[str, Any], num_heads: int, swept: list[dict[str, Any]]) -> None:
    assert list(sweep_specs(spec, num_heads)) == swept


def test_patience_with_a_threshold_sweeps_the_threshold() -> None:
    swept = sweep_specs({"name": "patience", "patience": 2, "threshold": 0.9}, 4, thresholds=[0.8, 0.5])
    assert [(s["patience"], s["threshold"]) for s in swept] == [(2, 0.5), (2, 0.8)]


@pytest.mark.parametrize("thresholds", [[1.2], [-0.1]])
def test_thresholds_outside_their_range(thresholds: list[float]) -> None:
    with pytest.raises(ValueError, match=r"threshold: expected a number in \[0, 1\]"):
        sweep_specs({"name": "confidence"}, 2, thresholds=thresholds)


def test_points_that_change_nothing_are_left_out(trace: Trace) -> None:
    specs = sweep_specs({"name": "confidence", "threshold": 0.9}, 4)
    kept = distinct(trace, specs, always=[{"name": "confidence", "threshold": 0.25}])
    thresholds = [spec["threshold"] for spec in kept]
    assert thresholds[:2] == [0.0, 0.25]  # two classes: nothing below 0.5 decides anything
    assert all(t > 0.45 for t in thresholds[2:])
