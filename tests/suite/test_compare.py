"""A comparison keeps to its budget, and its rows say what was executed."""

import numpy as np
import pytest
import torch

from eat.benchmark.contenders import ALL_OFF, GROUPED, PADDED
from eat.suite import workbench
from eat.suite.compare import Budget, Comparison, compare
from eat.suite.settings import SuiteSettings
from eat.suite.timed import ALL_EXIT, LONG, PRUNED, PRUNED_EXITS, STATIC, depth, pruning, serving
from eat.suite.workbench import TORCHS_PRODUCT, Workbench

CPU = torch.device("cpu")
BUDGET = Budget(seconds=0.05, rounds=2, warmup=2)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Build a tiny shape, without ONNX Runtime: it has tests of its own and takes long to export to."""
    settings = SuiteSettings(shapes=["tiny"], examples=64, lengths=[64], curve_lengths=[16], device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workbench, "why_not", lambda device: "left out of these tests")
        yield Workbench("tiny", torch.float32, settings, tmp_path_factory.mktemp("bench"))


def measured(comparison):
    return {
        row["contender"]: row
        for row in compare(comparison, BUDGET, threads=1, device=CPU)
        if row["baseline"] == ALL_OFF
    }


@pytest.mark.parametrize(
    ("seconds_per_batch", "expected"),
    [
        (0.01, (10, 5)),  # there is time for everything
        (0.5, (4, 5)),  # fewer batches, all rounds
        (1.0, (2, 5)),
        (2.0, (2, 3)),  # as few batches as may be, and fewer rounds
        (9.0, (2, 3)),  # never fewer than three
        (0.0, (10, 5)),
    ],
)
def test_a_budget_cuts_batches_first_then_rounds(seconds_per_batch, expected):
    assert Budget(seconds=10, rounds=5, warmup=1).fit(seconds_per_batch, batches=10, min_batches=2) == expected


def test_fewer_rounds_may_be_asked_for():
    assert Budget(seconds=10, rounds=2, warmup=1).fit(9.0, batches=4, min_batches=1) == (1, 2)


def test_serving_sets_everybody_beside_both_baselines(bench):
    alone, queue, long = serving(bench)
    assert [e.contender.name for e in alone.entrants] == [PADDED, ALL_OFF, TORCHS_PRODUCT]
    everybody = [PADDED, GROUPED, ALL_OFF, TORCHS_PRODUCT]
    assert [e.contender.name for e in queue.entrants] == everybody
    assert (queue.batch_size, long.batch_size, long.inputs) == (32, 8, "imdb")
    rows = compare(queue, BUDGET, threads=1, device=CPU)
    assert [(row["contender"], row["baseline"]) for row in rows] == [
        (name, baseline) for baseline in (PADDED, ALL_OFF) for name in everybody
    ]
    own = [row for row in rows if row["contender"] == row["baseline"]]
    assert {(row["speedup"], row["speedup_low"], row["speedup_high"]) for row in own} == {(1.0, 1.0, 1.0)}
    assert {row["threads"] for row in rows} == {1}


def test_executed_work_is_the_models_own_count(bench):
    comparison = list(pruning(bench))[-1]
    rows = measured(comparison)
    timed = comparison.examples[: rows[PRUNED]["examples"]]
    model = bench.pruned
    with torch.inference_mode():
        outputs = [model(torch.tensor([example["input_ids"]])) for example in timed]
    executed = sum(float(model.flops(out.tokens_kept, out.exit_depth).sum()) for out in outputs)
    dense = float(model.dense_flops(torch.tensor([len(example["input_ids"]) for example in timed])).sum())
    assert rows[PRUNED]["flops_ratio"] == pytest.approx(executed / dense)
    assert rows[PRUNED]["efficiency"] == pytest.approx(rows[PRUNED]["speedup"] * executed / dense)
    assert (rows[ALL_OFF]["flops_ratio"], rows[PRUNED]["left_early"]) == (1.0, 0.0)
    assert 0.3 < rows[PRUNED_EXITS]["left_early"] < 0.7
    assert rows[PRUNED_EXITS]["flops_ratio"] < rows[PRUNED]["flops_ratio"]


def test_long_inputs_are_long(bench):
    comparison = list(pruning(bench))[1]
    assert min(len(example["input_ids"]) for example in comparison.examples) >= LONG


def test_everybody_leaves_at_a_third_of_the_depth(bench):
    alone, queue = depth(bench)
    assert (alone.batch_size, queue.batch_size) == (1, 32)
    rows = measured(queue)
    assert (rows[ALL_EXIT]["left_early"], rows[STATIC]["left_early"]) == (1.0, 0.0)
    assert rows[ALL_EXIT]["flops_ratio"] == pytest.approx(rows[STATIC]["flops_ratio"], rel=0.01)
    assert rows[STATIC]["flops_ratio"] == pytest.approx(1 / 3, rel=0.05)


def test_a_slow_comparison_is_timed_on_its_first_examples(bench):
    comparison = list(serving(bench))[1]
    slow = Budget(seconds=1e-6, rounds=2, warmup=1)
    rows = compare(comparison, slow, threads=1, device=CPU)
    assert {row["examples"] for row in rows} == {64}  # two batches, so that grouping by length has something to do
    some = {"examples": comparison.examples, "entrants": comparison.entrants, "baselines": [ALL_OFF]}
    one = Comparison(inputs="x", batch_size=8, **some)
    assert {row["examples"] for row in compare(one, slow, threads=1, device=CPU)} == {8}


def test_tokens_per_second_are_those_of_the_examples(bench):
    comparison = list(serving(bench))[1]
    row = compare(comparison, BUDGET, threads=1, device=CPU)[0]
    lengths = [len(example["input_ids"]) for example in comparison.examples[: row["examples"]]]
    assert row["tokens_per_s"] == pytest.approx(row["examples_per_s"] * np.mean(lengths))
