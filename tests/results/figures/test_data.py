"""The numbers behind each figure."""

import dataclasses

import numpy as np
import pytest
import torch

from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.ops.confidence import max_probability
from eat.results.figures.ablation import ablation_bars, mean_difference
from eat.results.figures.exits import exit_shares
from eat.results.figures.frontier import on_front
from eat.results.figures.frontier_points import FrontierPoint, counted, counted_all_off, timed, timed_baselines
from eat.results.figures.lengths import length_bins
from eat.results.figures.reliability import pooled_reliability
from eat.results.figures.retention import retention_by_length
from eat.results.figures.schedule import by_depth, distinct_schedules, over_training, scheduled_retention
from eat.traces.quality import difference, head_calibration, measure_point
from eat.traces.statistics import seeds_difference_interval
from tests.made.evidence import make_evidence, make_suite, timed_row

SEEDS = (0, 1)


@pytest.fixture
def suite():
    kinds = ("dense", "static", "adaptive")
    return make_suite({kind: [make_evidence(kind, seed=seed) for seed in SEEDS] for kind in kinds})


def test_counted_points_are_means_over_seeds_with_their_deviation(suite):
    points = counted(suite, suite.experiments["adaptive"])
    assert [point.label for point in points][:1] == ["0"] and points[-1].label == "full"
    full = [measure_point(run.traces.reported, FULL_DEPTH) for run in suite.experiments["adaptive"]]
    values = [point.metrics["accuracy"] for point in full]
    assert points[-1].value == pytest.approx(np.mean(values))
    assert points[-1].deviation == pytest.approx(np.std(values, ddof=1))
    assert points[-1].cost == pytest.approx(np.mean([point.flops_ratio for point in full]))
    assert [point.cost for point in points] == sorted(point.cost for point in points)


def test_points_on_the_front_are_those_that_none_beats_for_as_little():
    curves = {
        "cheap": [FrontierPoint("0", 0.3, 0.7), FrontierPoint("1", 0.6, 0.8)],
        "good": [FrontierPoint("0", 0.4, 0.9), FrontierPoint("full", 1.0, 0.9)],
        "beaten": [FrontierPoint("full", 0.5, 0.85)],
    }
    assert on_front(curves) == {"cheap": 1, "good": 2, "beaten": 0}


def test_a_model_with_one_head_is_one_point(suite):
    (point,) = counted(suite, suite.experiments["static"])
    assert point.label == "full" and 0.4 < point.cost < 0.6


def test_everything_off_stands_in_where_no_run_is_dense(suite):
    assert counted_all_off(suite) is None
    runs = suite.experiments["adaptive"]
    found = counted_all_off(make_suite({"adaptive": runs}))
    right = [(r.traces.all_off["validation"].full_depth.argmax(1) == r.traces.reported.labels).mean() for r in runs]
    assert (found.point.cost, found.point.value) == (1, pytest.approx(np.mean(right)))
    assert found.name == "eat, everything off, weights of adaptive"


def test_timed_points_are_those_that_every_seed_measured():
    point = {"exit": "confidence", "threshold": 0.6}
    fast = [timed_row("eat", "eat", ms, value, **point) for ms, value in ((2.0, 0.8), (4.0, 0.9))]
    slow = [timed_row("eat", "eat", 8.0, 0.9), timed_row("eat", "eat", 8.0, 0.9)]
    other = timed_row("eat", "eat", 1.0, 0.5, exit="confidence", threshold=0.7)
    many = timed_row("eat", "eat", 99.0, 0.9, batch_size=32)
    runs = [make_evidence(rows=[slow[0], fast[0], other, many]), make_evidence(seed=1, rows=[slow[1], fast[1]])]
    points = timed(runs, 1)
    assert [(p.label, p.cost, pytest.approx(p.value)) for p in points] == [("0.6", 3.0, 0.85), ("full", 8.0, 0.9)]
    assert points[0].deviation == pytest.approx(0.1 / 2**0.5)


def test_baselines_are_those_beside_the_dense_run_and_static_models():
    dense = [
        timed_row("dense", "huggingface_sdpa_padded", 10.0, 0.9),
        timed_row("dense", "eat", 5.0, 0.9),
        timed_row("eat", "eat", 5.0, 0.9),
    ]
    beside = [timed_row("dense", "huggingface_sdpa_padded", 20.0, 0.8)]
    beside += [timed_row("static", "eat", 3.0, 0.7, num_layers=2), timed_row("truncated", "eat", 3.0, 0.5)]
    runs = {"dense": [make_evidence("dense", rows=dense)], "adaptive": [make_evidence(rows=beside)]}
    found = [(b.name, b.num_layers, b.point.cost, b.point.value) for b in timed_baselines(make_suite(runs), 1)]
    assert found == [("Hugging Face, padded", None, 10.0, 0.9), ("static 2 layers", 2, 3.0, 0.7)]
    alone = timed_baselines(make_suite({"adaptive": runs["adaptive"]}), 1)
    assert alone[0].name == "Hugging Face, padded, weights of adaptive"


def test_differences_of_one_run_are_those_of_a_report(suite):
    ours, dense = (suite.experiments[kind][0].traces.reported for kind in ("adaptive", "dense"))
    one = difference(ours, ours.full_depth, dense.full_depth)
    assert mean_difference([(ours, ours.full_depth, dense.full_depth)]) == (one.points, one.low, one.high)
    assert mean_difference([(ours, ours.full_depth, ours.full_depth)]) == (0.0, 0.0, 0.0)


def test_an_interval_over_seeds_is_the_tables(suite):
    runs = zip(suite.experiments["adaptive"], suite.experiments["dense"], strict=True)
    pairs = [(a.traces.reported, a.traces.reported.full_depth, b.traces.reported.full_depth) for a, b in runs]
    labels = pairs[0][0].labels
    said, reference = (np.stack([pair[side].argmax(1) for pair in pairs]) for side in (1, 2))
    low, high = seeds_difference_interval(lambda a, truth: float((a == truth).mean()), labels, said, reference)
    points = 100 * ((said == labels).mean() - (reference == labels).mean())
    assert mean_difference(pairs) == pytest.approx((points, 100 * low, 100 * high))
    each = [mean_difference([pair]) for pair in pairs]
    assert high - low > max(wide - narrow for _, narrow, wide in each) / 100  # two seeds say little of others


def test_bars_pair_each_seed_with_the_dense_run_of_that_seed(suite):
    bars, notes = ablation_bars(suite)
    assert notes == [] and [bar.name for bar in bars] == ["dense", "static", "adaptive"]
    assert (bars[0].compute, bars[0].points, bars[0].low, bars[0].high) == (1.0, 0.0, 0.0, 0.0)
    by_seed = [
        measure_point(ours.traces.reported, ours.point, dense=dense.traces.reported.full_depth)
        for ours, dense in zip(suite.experiments["adaptive"], suite.experiments["dense"], strict=True)
    ]
    assert bars[2].points == pytest.approx(np.mean([point.delta_dense.points for point in by_seed]))
    assert bars[2].compute == pytest.approx(np.mean([point.flops_ratio for point in by_seed]))
    assert bars[2].low < bars[2].points < bars[2].high
    assert [bar.point for bar in bars] == ["", "", "confidence threshold=0.6"]


def test_an_experiment_without_a_seed_of_the_dense_one_is_left_out(suite):
    other = make_suite({"dense": suite.experiments["dense"], "adaptive": [make_evidence(seed=2)]})
    bars, notes = ablation_bars(other)
    assert [bar.name for bar in bars] == ["dense"]
    assert notes == ["ablation: adaptive is left out, it has no seed in common with dense"]


@pytest.mark.parametrize(
    ("pruner", "scale", "depth", "expected"),
    [
        ({"depths": [2, 4], "ratio": 0.3}, 1.0, 6, 0.49),
        ({"depths": [2, 4], "ratio": 0.3}, 1.0, 3, 0.7),
        ({"depths": [2, 4], "ratio": 0.3}, 0.5, 6, 0.7225),
        ({"depths": [2, 4], "ratio": [0.5, 0.2]}, 1.0, 4, 0.4),
        ({"depths": [2, 4], "ratio": 0.3}, 1.0, 1, 1.0),
        ({"depths": [2, 4], "ratio": 0.3, "min_retention": 0.6}, 1.0, 6, 0.6),
    ],
)
def test_scheduled_retention_is_the_product_of_what_stays(pruner, scale, depth, expected):
    assert scheduled_retention(pruner, scale, depth) == pytest.approx(expected)


def test_retention_over_training_follows_the_logged_scale():
    rows = [{"step": 10.0 * i, "train/pruning_scale": i / 39, "train/retention": 1 - i / 100} for i in range(40)]
    found = over_training(make_evidence(metrics=[*rows, {"step": 400.0, "val/retention": 0.5}]))
    assert len(found.steps) == 20 and found.steps[0] == 5.0 and found.steps[-1] == 385.0
    assert found.observed[0] == pytest.approx(0.995)
    assert found.scheduled[-1] == pytest.approx(((1 - 0.3 * 38 / 39) ** 2 + 0.7**2) / 2)
    assert over_training(make_evidence(metrics=[{"step": 1.0, "train/loss": 1.0}])) is None


def test_retention_by_depth_is_what_blocks_read():
    run = make_evidence()
    scheduled, observed = by_depth(run)
    assert scheduled == pytest.approx([1.0, 0.7, 0.49, 0.49])
    kept = run.traces.reported.tokens_kept
    assert observed == pytest.approx([(kept[:, block] / kept[:, 0]).mean() for block in range(4)])
    assert (observed >= scheduled).all()


def test_runs_that_prune_alike_are_one_schedule(suite):
    more = dict(suite.experiments) | {"b": suite.experiments["adaptive"], "c": suite.experiments["adaptive"]}
    assert list(distinct_schedules(make_suite(more))) == ["adaptive and 2 more: ratio 0.3 after 1, 2"]
    annealed = make_evidence(config={"schedule": {"warmup_epochs": 1}})
    assert len(distinct_schedules(make_suite(more | {"b": [annealed]}))) == 2


def test_bins_hold_every_example_once_and_one_length_is_in_one_bin():
    lengths = np.array([3, 3, 3, 3, 3, 3, 9, 4, 5, 5])
    bins = length_bins(lengths, most=3)
    assert sorted(np.concatenate(bins)) == list(range(10))
    assert [sorted(set(lengths[members])) for members in bins] == [[3], [4], [5, 9]]
    assert [list(members) for members in length_bins(np.array([7, 7]))] == [[0, 1]]


def test_retention_is_averaged_within_bins_of_length():
    run = make_evidence()
    found = retention_by_length([run], FULL_DEPTH)
    trace = run.traces.reported
    bins = length_bins(trace.lengths)
    kept = trace.tokens_kept[:, 3] / trace.lengths
    assert found.mean == pytest.approx([kept[members].mean() for members in bins])
    assert found.lengths == pytest.approx([trace.lengths[members].mean() for members in bins])
    assert (found.low <= found.mean + 1e-9).all() and (found.mean <= found.high + 1e-9).all()
    all_leave_first = OperatingPoint.of({"name": "confidence", "threshold": 0.0})
    assert (retention_by_length([run], all_leave_first).mean == 1).all()


def test_exit_shares_are_means_over_seeds():
    runs = [make_evidence(seed=seed) for seed in SEEDS]
    points = [OperatingPoint.of({"name": "confidence", "threshold": t}) for t in (0.0, 0.7)] + [FULL_DEPTH]
    shares = exit_shares(runs, points)
    assert shares[0].tolist() == [1, 0, 0, 0] and shares[2].tolist() == [0, 0, 0, 1]
    assert shares.sum(axis=1) == pytest.approx(1)
    sure = [max_probability(run_head(run, 0)) >= 0.7 for run in runs]
    assert shares[1, 0] == pytest.approx(np.mean([s.double().mean() for s in sure]))


def run_head(run, head):
    return torch.from_numpy(run.traces.reported.all_logits[:, head])


def test_reliability_of_one_run_is_that_of_its_report_and_seeds_are_pooled():
    runs = [make_evidence(seed=seed).traces.reported for seed in SEEDS]
    error, bins = pooled_reliability(runs[:1], 1)
    theirs, their_bins = head_calibration(runs[0])[2]
    assert error == theirs and all((a == b).all() for a, b in zip(bins, their_bins, strict=True))
    pooled = dataclasses.replace(
        runs[0],
        labels=np.concatenate([run.labels for run in runs]),
        all_logits=np.concatenate([run.all_logits for run in runs]),
        tokens_kept=np.concatenate([run.tokens_kept for run in runs]),
    )
    error, bins = pooled_reliability(runs, 1)
    assert error == head_calibration(pooled)[2][0] and int(bins.counts.sum()) == 80
