"""A trial's worth is what replaying its trace one point at a time gives, and the recommendation follows from it."""

import dataclasses
import json

import numpy as np
import pytest

from eat.evaluation.criteria import pareto_front
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.search.best import Best, common_front, find_best
from eat.search.settings import SearchSettings
from eat.search.study import Trial
from eat.search.value import Point, Value, measure
from eat.traces.grid import measure_grid
from eat.traces.replay import replay
from tests.made.models import TASK
from tests.made.traces import CONFIG, make_trace

CONFIDENCE = OperatingPoint.of({"name": "confidence"})
SPACE = {"pruner.ratio": {"low": 0.1, "high": 0.5}}


@pytest.fixture(scope="module")
def trace():
    return make_trace(400, "threshold", seed=0)


def accuracy(trace, point):
    return float((replay(trace, point).logits.argmax(1) == trace.labels).mean())


@pytest.mark.parametrize("drop", [0.0, 0.01, 0.05, 1.0])
def test_the_point_of_a_trial_is_the_cheapest_that_is_good_enough(trace, drop):
    value = measure(trace, CONFIDENCE, drop)
    least = accuracy(trace, FULL_DEPTH) - drop
    tried = [FULL_DEPTH, *CONFIDENCE.at(np.linspace(0, 1, 500).tolist())]
    good = [point for point in tried if accuracy(trace, point) >= least]
    cheapest = min(replay(trace, point).flops(trace.costs).sum() for point in good) / trace.costs.dense.sum()
    chosen = OperatingPoint.of(value.chosen.exit)
    assert value.chosen.quality == accuracy(trace, chosen) >= least
    assert value.chosen.flops_ratio <= cheapest + 0.01  # of 500 steps of threshold, and of 200 quantiles
    assert value.full_depth.quality == accuracy(trace, FULL_DEPTH)
    assert value.full_depth.avg_depth == 3


def test_full_depth_is_the_point_where_quality_counts_alone(trace):
    value = measure(trace, CONFIDENCE, None)
    assert value.chosen == value.full_depth
    assert (value.examples, value.labels) == (400, measure(trace, FULL_DEPTH, 0.1).labels)
    assert value.labels != measure(make_trace(400, "threshold", seed=1), CONFIDENCE, None).labels


def test_the_front_holds_no_point_that_another_beats(trace):
    front = measure(trace, CONFIDENCE, 0.01).front
    points = [OperatingPoint.of(point.exit) for point in front]
    assert len(front) > 5
    assert list(pareto_front(measure_grid(trace, points))) == list(range(len(front)))


def test_a_value_is_read_back(trace):
    value = measure(trace, CONFIDENCE, 0.01)
    assert Value.from_json(json.loads(json.dumps(dataclasses.asdict(value)))) == value


def test_an_undefined_quality_is_said(made_trace):
    task = dataclasses.replace(TASK, kind="regression", label_names=(), num_labels=1, metrics=("pearson",))
    same = made_trace(np.zeros((6, 2, 1)), np.arange(6.0), (1, 3), task=task, metadata={"config": CONFIG})
    with pytest.raises(ValueError, match="pearson is undefined on the threshold split"):
        measure(same, FULL_DEPTH, 0.01)


def trial(number, full_depth, *front):
    """A trial with points (quality, FLOPs), cheapest first."""
    points = tuple(Point({"name": "never"}, quality, flops, 3.0) for quality, flops in front)
    value = Value(Point({"name": "never"}, full_depth, 1.0, 3.0), points, points[0], 10, "x")
    return Trial(number, "complete", {}, value=value)


TRIALS = [
    trial(0, 0.90, (0.80, 0.2), (0.90, 0.6)),
    trial(1, 0.93, (0.85, 0.3), (0.92, 0.5), (0.93, 0.9)),
    trial(2, 0.925, (0.925, 0.5), (0.93, 0.95)),
    Trial(3, "failed", {}, error="x"),
    Trial(4, "running", {}),
]


def test_the_recommended_point_is_the_cheapest_near_the_best_full_depth():
    settings = SearchSettings("x", SPACE, max_drop=0.01)
    assert find_best(TRIALS, settings) == Best(TRIALS[2], TRIALS[2].value.front[0])  # as cheap as 1's, and better
    assert find_best(TRIALS, dataclasses.replace(settings, max_drop=0.1)).point.flops_ratio == 0.3
    assert find_best(TRIALS, dataclasses.replace(settings, max_drop=0.0)).point.flops_ratio == 0.9
    assert find_best(TRIALS[3:], settings) is None


def test_without_flops_the_best_full_depth_is_recommended():
    best = find_best([*TRIALS, trial(5, 0.93, (0.93, 0.1))], SearchSettings("x", SPACE, optimize=["quality"]))
    assert (best.trial.number, best.point) == (1, TRIALS[1].value.full_depth)


def test_the_common_front_holds_points_of_several_trials():
    points = [(point.quality, point.flops_ratio) for point in common_front(TRIALS)]
    assert points == [(0.80, 0.2), (0.85, 0.3), (0.925, 0.5), (0.93, 0.9)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a b"}, r"search.name: expected a word"),
        ({"optimize": ["flops"]}, r"search.optimize: expected \[quality,flops\] or \[quality\]"),
        ({"optimize": ["qualty"]}, r"search.optimize: .* got 'qualty' \(did you mean 'quality'\?\)"),
        ({"trials": 0}, r"search.trials: expected an integer of 1 or more, got 0"),
        ({"timeout": 0}, r"search.timeout: expected a number above 0, got 0"),
        ({"seed": -1}, r"search.seed: expected an integer of 0 or more"),
        ({"max_drop": 2}, r"search.max_drop: expected a number in \[0, 1\], got 2"),
    ],
)
def test_settings_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        SearchSettings(**({"name": "x", "space": SPACE} | options))
