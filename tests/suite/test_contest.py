"""A contest keeps to its budget, and its rows say what was executed."""

import numpy as np
import pytest
import torch

from eat.benchmark.contenders import ALL_OFF, PADDED
from eat.benchmark.engines.ctranslate2 import CTranslate2
from eat.benchmark.engines.onnx import OnnxRuntime
from eat.benchmark.engines.openvino import OpenVino
from eat.benchmark.engines.segments import OnnxSegments
from eat.suite.contest import Contest, budget_of, hold
from eat.suite.settings import SuiteSettings
from eat.suite.timed import ALL_EXIT, LONG, PRUNED, PRUNED_EXITS, STATIC, depth, pruning, serving
from eat.suite.workbench import TORCHS_PRODUCT, Workbench

CPU = torch.device("cpu")
GROUPED = "huggingface_sdpa_grouped"
BUDGET = budget_of(seconds=0.05, rounds=2, warmup=2)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Build a tiny shape, without engines that export: they have tests of their own and take long."""
    settings = SuiteSettings(shapes=["tiny"], examples=64, lengths=[64], curve_lengths=[16], device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        for engine in (OnnxRuntime, OnnxSegments, OpenVino, CTranslate2):
            patch.setattr(engine, "why_not", lambda self, device: "left out of these tests")
        yield Workbench("tiny", torch.float32, settings, tmp_path_factory.mktemp("bench"))


def measured(contest):
    return {row["contender"]: row for row in hold(contest, BUDGET, threads=1, device=CPU) if row["baseline"] == ALL_OFF}


def test_serving_sets_all_beside_both_baselines(bench):
    alone, queue, long = serving(bench)
    assert [e.name for e in alone.entrants] == [PADDED, ALL_OFF, TORCHS_PRODUCT]
    names = [PADDED, GROUPED, ALL_OFF, TORCHS_PRODUCT]
    assert [e.name for e in queue.entrants] == names
    assert (queue.batch_size, long.batch_size, long.inputs) == (32, 8, "imdb")
    rows = hold(queue, BUDGET, threads=1, device=CPU)
    assert [(row["contender"], row["baseline"]) for row in rows] == [
        (name, baseline) for baseline in (PADDED, ALL_OFF) for name in names
    ]
    own = [row for row in rows if row["contender"] == row["baseline"]]
    assert {(row["speedup"], row["speedup_low"], row["speedup_high"]) for row in own} == {(1.0, 1.0, 1.0)}
    assert {row["threads"] for row in rows} == {1}


def test_executed_work_is_the_models_own_count(bench):
    contest = list(pruning(bench))[-1]
    rows = measured(contest)
    timed = contest.examples[: rows[PRUNED]["examples"]]
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
    contest = list(pruning(bench))[1]
    assert min(len(example["input_ids"]) for example in contest.examples) >= LONG


def test_all_leave_at_a_third_of_the_depth(bench):
    alone, queue = depth(bench)
    assert (alone.batch_size, queue.batch_size) == (1, 32)
    rows = measured(queue)
    assert (rows[ALL_EXIT]["left_early"], rows[STATIC]["left_early"]) == (1.0, 0.0)
    assert rows[ALL_EXIT]["flops_ratio"] == pytest.approx(rows[STATIC]["flops_ratio"], rel=0.01)
    assert rows[STATIC]["flops_ratio"] == pytest.approx(1 / 3, rel=0.05)


def test_a_slow_contest_is_timed_on_its_first_examples(bench):
    contest = list(serving(bench))[1]
    slow = budget_of(seconds=1e-6, rounds=2, warmup=1)
    rows = hold(contest, slow, threads=1, device=CPU)
    assert {row["examples"] for row in rows} == {64}  # two batches, so that grouping by length has something to do
    some = {"examples": contest.examples, "entrants": contest.entrants, "baselines": [ALL_OFF]}
    one = Contest(inputs="x", batch_size=8, **some)
    assert {row["examples"] for row in hold(one, slow, threads=1, device=CPU)} == {8}


def test_tokens_per_second_are_those_of_the_examples(bench):
    contest = list(serving(bench))[1]
    row = hold(contest, BUDGET, threads=1, device=CPU)[0]
    lengths = [len(example["input_ids"]) for example in contest.examples[: row["examples"]]]
    assert row["tokens_per_s"] == pytest.approx(row["examples_per_s"] * np.mean(lengths))
