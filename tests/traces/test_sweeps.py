"""Which operating points are tried."""

from typing import Any

import pytest

from eat.exits.points import OperatingPoint
from eat.traces.sweeps import candidate_points, criterion_points, distinct, score_quantiles, sweep
from eat.traces.trace import Trace

CONFIDENCE = OperatingPoint.of({"name": "confidence", "threshold": 0.9})


def test_a_sweep_holds_the_papers_thresholds() -> None:
    assert {0.80, 0.85, 0.90, 0.95, 1.0} <= {point.threshold for point in sweep(CONFIDENCE, num_heads=2)}


@pytest.mark.parametrize(
    ("spec", "num_heads", "swept"),
    [
        ({"name": "never"}, 4, [{"name": "never"}]),
        ({"name": "patience", "patience": 2}, 4, [{"name": "patience", "patience": p} for p in (1, 2, 3)]),
        ({"name": "patience"}, 1, [{"name": "patience", "patience": 1}]),
    ],
)
def test_points_without_thresholds(spec: dict[str, Any], num_heads: int, swept: list[dict[str, Any]]) -> None:
    assert [point.spec for point in sweep(OperatingPoint.of(spec), num_heads)] == swept


def test_patience_with_a_threshold_sweeps_the_threshold() -> None:
    point = OperatingPoint.of({"name": "patience", "patience": 2, "threshold": 0.9})
    swept = sweep(point, 4, thresholds=[0.8, 0.5])
    assert [(point.patience, point.threshold) for point in swept] == [(2, 0.5), (2, 0.8)]


@pytest.mark.parametrize("thresholds", [[1.2], [-0.1]])
def test_thresholds_outside_their_range(thresholds: list[float]) -> None:
    with pytest.raises(ValueError, match=r"threshold: expected a number in \[0, 1\]"):
        sweep(CONFIDENCE, 2, thresholds=thresholds)


def test_points_that_change_nothing_are_left_out(trace: Trace) -> None:
    (always,) = CONFIDENCE.at([0.25])
    kept = distinct(trace, sweep(CONFIDENCE, 4), always=[always])
    thresholds = [point.spec["threshold"] for point in kept]
    assert thresholds[:2] == [0.0, 0.25]  # two classes: nothing below 0.5 decides anything
    assert all(t > 0.45 for t in thresholds[2:])


def test_every_patience_comes_without_and_with_thresholds(trace: Trace) -> None:
    points = list(criterion_points("patience", trace, lambda point: [0.5, 0.7]))
    assert [(point.patience, point.threshold) for point in points] == [
        *((1, None), (2, None), (3, None)),
        *((1, 0.5), (1, 0.7), (2, 0.5), (2, 0.7), (3, 0.5), (3, 0.7)),
    ]


def test_a_veto_is_given_to_the_criteria_that_can_have_one(trace: Trace) -> None:
    vetoed = list(criterion_points("confidence", trace, lambda point: [0.5], veto_margin=0.1))
    assert [point.spec for point in vetoed] == [{"name": "confidence", "threshold": 0.5, "veto_margin": 0.1}]
    assert [point.name for point in criterion_points("never", trace, lambda point: [0.5], veto_margin=0.1)] == ["never"]


def test_criteria_that_do_not_suit_the_model_give_nothing(trace: Trace) -> None:
    assert list(criterion_points("difference", trace, score_quantiles(trace))) == []


def test_candidates_decide_differently(trace: Trace) -> None:
    decisions = [(replayed.early_heads, replayed.exit_depth.tobytes()) for _, replayed in candidate_points(trace)]
    assert len(decisions) == len(set(decisions)) > 20
