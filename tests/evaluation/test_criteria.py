"""All criteria side by side: which are swept, which points are on the front, what is drawn and read back."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eat.benchmark.latency.model import WORK
from eat.evaluation.criteria import Comparison, compare_criteria, pareto_front
from eat.evaluation.report.criteria import draw_comparison
from eat.evaluation.report.plan import read_latency
from eat.exits import EXITS
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.traces.grid import Grid, measure_grid
from eat.traces.record import record_trace
from eat.traces.sweeps import criterion_points, score_quantiles
from eat.traces.trace import RecordedTask, Trace
from tests.made.models import TASK, make_batches, make_model

RESULTS = Path(__file__).parents[2] / "results"
SCORE = RecordedTask("made_up", "regression", (), ("pearson",), 1)


@pytest.fixture(scope="module")
def compared(model: AdaptiveForSequenceClassification, trace: Trace) -> Comparison:
    facts = {"split": "threshold", "config": model.config.to_dict()}
    comparison = compare_criteria(record_trace(model, make_batches(60, seed=1), TASK, metadata=facts), trace)
    assert comparison is not None
    return comparison


def grid_of(flops: list[float], values: list[float]) -> Grid:
    points = OperatingPoint("confidence").at(np.linspace(0, 1, len(flops)).tolist())
    return Grid(points, np.array(values), np.zeros(len(flops)), np.array(flops))


@pytest.mark.parametrize(
    ("flops", "values", "front"),
    [
        ([1.0, 0.5, 0.7], [0.9, 0.7, 0.8], [1, 2, 0]),
        ([1.0, 0.5, 0.7], [0.9, 0.7, 0.6], [1, 0]),
        ([0.5, 0.5, 0.9], [0.7, 0.8, 0.8], [1]),
        ([0.5, 0.5], [0.7, 0.7], [0]),  # of equal ones the first
        ([0.3, 0.5], [float("nan"), 0.7], [1]),
    ],
)
def test_pareto_front_by_hand(flops: list[float], values: list[float], front: list[int]) -> None:
    assert pareto_front(grid_of(flops, values)).tolist() == front


def test_every_criterion_for_classes_is_compared(compared: Comparison) -> None:
    assert set(compared.criteria) == {name for name, part in EXITS.items() if part.needs_classes}
    assert all(len(grid.points) > 3 for grid in compared.criteria.values())


def test_the_front_is_chosen_on_the_threshold_split_only(
    compared: Comparison, model: AdaptiveForSequenceClassification, trace: Trace
) -> None:
    held_out = record_trace(model, make_batches(60, seed=1), TASK, metadata=trace.metadata)
    there = measure_grid(held_out, compared.front)
    assert (np.diff(there.flops_ratio) > 0).all() and (np.diff(there.values) > 0).all()
    every = measure_grid(held_out, [point for grid in compared.criteria.values() for point in grid.points])
    for flops, value in zip(every.flops_ratio, every.values, strict=True):
        assert ((there.flops_ratio <= flops) & (there.values >= value)).any(), "no drawn point beats the front"
    shown = measure_grid(trace, compared.front)
    np.testing.assert_array_equal(compared.reported.values, shown.values)


def test_thresholds_lie_among_the_scores(trace: Trace) -> None:
    quantiles = score_quantiles(trace)
    thresholds = [point.threshold for point in criterion_points("confidence", trace, quantiles)]
    assert min(thresholds) >= 0.5 and max(thresholds) <= 1.0 and len(thresholds) > 50
    patient = list(criterion_points("patience", trace, quantiles))
    assert {point.patience for point in patient} == {1, 2, 3}
    assert [point for point in patient if point.threshold is None] == [
        OperatingPoint.of({"name": "patience", "patience": patience}) for patience in (1, 2, 3)
    ]


def test_regression_is_compared_by_difference(made_trace: Callable[..., Trace]) -> None:
    config = make_model(num_labels=1, problem_type="regression", exit={"name": "never"}).config.to_dict()
    values = np.random.default_rng(0).normal(size=(20, 4, 1)).cumsum(axis=1)
    scores = made_trace(values, values[:, -1, 0], (1, 2, 3, 4), task=SCORE, metadata={"config": config})
    comparison = compare_criteria(scores, scores)
    assert comparison is not None
    assert set(comparison.criteria) == {"difference"}
    assert comparison.front[-1] == FULL_DEPTH


def test_without_an_early_head_there_is_nothing_to_compare(made_trace: Callable[..., Trace]) -> None:
    single = made_trace(np.zeros((3, 1, 2)), [0, 1, 1], (4,))
    assert compare_criteria(single, single) is None


def test_latency_of_an_earlier_plan(trace: Trace, tmp_path: Path) -> None:
    traced = dataclasses.replace(trace, metadata=trace.metadata | {"fingerprint": "a"})
    assert read_latency(tmp_path, traced) is None
    microseconds = dict.fromkeys(WORK, 0.0) | {"head_sequences": 2000.0}
    plan = json.loads(next(RESULTS.glob("sst2/*/report/plan.json")).read_text())
    plan |= {"fingerprint": "a", "batch_size": 1, "calibration": plan["calibration"] | {"microseconds": microseconds}}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    comparison = compare_criteria(traced, traced, read_latency(tmp_path, traced))
    assert comparison is not None and comparison.latency_ms is not None
    grid = comparison.criteria["confidence"]
    np.testing.assert_allclose(comparison.latency_ms[grid], 2.0 * grid.avg_depth)  # a head at every depth
    assert comparison.latency_ms[comparison.full_depth].tolist() == [2.0]  # without early heads
    (tmp_path / "plan.json").write_text(json.dumps(plan | {"fingerprint": "b"}))
    assert read_latency(tmp_path, traced) is None
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(ValueError, match=r"plan\.json is damaged"):
        read_latency(tmp_path, traced)


@pytest.mark.figures
def test_the_figure_is_written(compared: Comparison, trace: Trace, tmp_path: Path) -> None:
    draw_comparison(compared, trace, tmp_path / "criteria.png")
    assert (tmp_path / "criteria.png").read_bytes().startswith(b"\x89PNG")
