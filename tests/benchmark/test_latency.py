"""Work counted by hand, coefficients recovered, probes that do what they are counted for."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from eat.benchmark.contenders import ALL_OFF, PADDED
from eat.benchmark.latency.fit import Probe, baseline_calls, build_probes, fit_probes, operating_point_call
from eat.benchmark.latency.model import WORK, LatencyModel, WorkCounter, fit_latency
from eat.benchmark.protocol import Budget, measure
from eat.exits.points import OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.traces.record import record_trace
from eat.traces.replay import Replay, replay
from eat.traces.trace import Trace
from tests.made.models import TASK, make_batches, make_model

FULL = [
    [10, 8, 6, 6, 0],
    [5, 4, 3, 3, 0],
    [4, 3, 2, 2, 0],
]  # heads at depths 1 to 4; tokens after each depth; pruned after 1 and 2


def made_replay(exit_depth: list[int], tokens_kept: list[list[int]] = FULL, early_heads: bool = True) -> Replay:
    depth = np.asarray(exit_depth)
    kept = np.where(np.arange(5) < depth[:, None], tokens_kept, 0)
    return Replay(logits=np.zeros((len(depth), 2)), exit_depth=depth, tokens_kept=kept, early_heads=early_heads)


def random_replay(generator: np.random.Generator, examples: int) -> Replay:
    lengths = generator.integers(3, 40, size=examples)
    kept = np.stack([np.ceil(share * lengths) for share in (1.0, 0.7, 0.5, 0.5, 0.0)], axis=1).astype(np.int64)
    return made_replay(generator.integers(1, 5, size=examples).tolist(), kept.tolist())


@pytest.fixture(scope="module")
def counter(model: AdaptiveForSequenceClassification) -> WorkCounter:
    return WorkCounter(model.config)


def counted(counter: WorkCounter, run: Replay, batch_size: int) -> list[dict[str, float]]:
    work = counter.count(run, batch_size)
    return [{name: value for name, value in zip(WORK, row, strict=True) if value} for row in work.tolist()]


def test_work_of_a_batch_that_shrinks(counter: WorkCounter) -> None:
    first, second = counted(counter, made_replay([3, 1, 2]), batch_size=2)
    assert first == {
        "calls": 1,
        "sequences": 2,
        "tokens": 15,
        "blocks": 3,
        "block_tokens": 15 + 8 + 6,
        "block_pairs": 100 + 25 + 64 + 36,
        "heads": 3,
        "head_sequences": 2 + 1 + 1,
        "departures": 1,
        "departure_tokens": 15,
        "prunings": 2,
        "pruning_tokens": 10 + 8,
    }
    assert second == {
        "calls": 1,
        "sequences": 1,
        "tokens": 4,
        "blocks": 2,
        "block_tokens": 4 + 3,
        "block_pairs": 16 + 9,
        "heads": 2,
        "head_sequences": 2,
        "prunings": 1,
        "pruning_tokens": 4,
    }


def test_early_heads_run_only_where_a_sequence_could_leave(counter: WorkCounter) -> None:
    (never,) = counted(counter, made_replay([4, 4, 4], early_heads=False), batch_size=3)
    assert (never["heads"], never["head_sequences"]) == (1, 3)


def test_windowed_attention_counts_the_pairs_that_it_computes() -> None:
    model = make_model(attention={"name": "windowed", "window": 8})
    lengths = [[400, 300, 200, 200, 0]]
    (dense,) = counted(WorkCounter(make_model().config), made_replay([1], lengths), 1)
    (windowed,) = counted(WorkCounter(model.config), made_replay([1], lengths), 1)
    assert dense["block_pairs"] == 400**2
    assert windowed["block_pairs"] < 400**2 / 4


def test_prediction_is_the_sum_of_its_pieces(counter: WorkCounter) -> None:
    seconds = dict.fromkeys(WORK, 0.0) | {"calls": 1e-3, "blocks": 2e-3, "block_tokens": 1e-4, "heads": 5e-4}
    model = LatencyModel(counter, 2, seconds, 0.0)
    predicted = model.predict_ms(made_replay([3, 1, 2]))
    np.testing.assert_allclose(predicted, [1 + 6 + 2.9 + 1.5, 1 + 4 + 0.7 + 1.0])


def test_the_fit_recovers_what_made_the_times(counter: WorkCounter) -> None:
    generator = np.random.default_rng(0)
    truth = generator.uniform(0.5, 2.0, size=len(WORK)) * 1e-5
    truth[3] = 0.0
    work = generator.uniform(0, 100, size=(200, len(WORK)))
    fitted = fit_latency(counter, 4, work, work @ truth)
    np.testing.assert_allclose([fitted.seconds[name] for name in WORK], truth, rtol=1e-6, atol=1e-12)
    assert fitted.error < 1e-6


def test_the_fit_predicts_batches_that_it_has_not_seen(counter: WorkCounter) -> None:
    generator = np.random.default_rng(0)
    truth = dict(zip(WORK, generator.uniform(0.5, 2.0, size=len(WORK)) * 1e-5, strict=True))
    machine = LatencyModel(counter, 8, truth, 0.0)
    seen, unseen = random_replay(generator, 400), random_replay(generator, 64)
    seconds = machine.predict_ms(seen) / 1e3
    fitted = fit_latency(counter, 8, counter.count(seen, 8), seconds)
    expected = machine.predict_ms(unseen)
    np.testing.assert_allclose(fitted.predict_ms(unseen), expected, rtol=1e-3)


def test_noise_does_not_bias_the_fit(counter: WorkCounter) -> None:
    generator = np.random.default_rng(0)
    work = generator.uniform(1, 100, size=(2000, len(WORK)))
    seconds = work.sum(axis=1) * generator.choice([1.0, 1.0, 3.0], size=2000)  # 5/3 on average
    fitted = fit_latency(counter, 1, work, seconds)
    assert fitted.of_work(work).sum() / 1e3 == pytest.approx(seconds.sum(), rel=0.01)


@pytest.mark.parametrize("seconds", [[], [1.0, 0.0]])
def test_times_must_be_times(counter: WorkCounter, seconds: list[float]) -> None:
    with pytest.raises(ValueError, match="seconds must hold times above 0"):
        fit_latency(counter, 1, np.ones((len(seconds), len(WORK))), np.asarray(seconds, dtype=float))


def encoded(num_examples: int) -> list[dict[str, list[int]]]:
    examples = []
    for batch in make_batches(num_examples):
        parts = torch.split(batch["input_ids"], batch["lengths"].tolist())
        examples += [{"input_ids": part.tolist()} for part in parts]
    return examples


@pytest.mark.parametrize("batch_size", [1, 8])
def test_probes_do_what_they_are_counted_for(batch_size: int) -> None:
    # Random weights give rows of equal norm: a pruner by hash has no ties that rounding would break.
    model = make_model(pruner={"name": "random", "depths": [1, 2], "ratio": 0.3})
    trace = record_trace(model, make_batches(), TASK)
    rows = np.arange(len(trace))[::-1].copy()
    examples = [encoded(len(trace))[i] for i in rows]
    probes = build_probes(model, trace, rows, batch_size)
    forced = [f"all leave at depth {depth}" for depth in trace.head_depths]
    assert list(probes)[:5] == ["never", *forced]
    assert (len(probes) > 5) == (batch_size > 1)
    for name, probe in probes.items():
        starts = range(0, len(examples), batch_size)
        with torch.inference_mode():
            live = np.concatenate([probe.call(examples[i : i + batch_size]) for i in starts])
        head = forced.index(name) if name in forced else None
        expected = probe.run.logits if head is None else trace.all_logits[rows, head]
        np.testing.assert_allclose(live, expected, atol=1e-5)
        assert head is None or set(probe.run.exit_depth) == {trace.head_depths[head]}
    assert probes["never"].run.early_heads is False and probes[forced[-1]].run.early_heads is True


def test_an_operating_point_leaves_the_model_alone(model: AdaptiveForSequenceClassification, trace: Trace) -> None:
    before = model.exit_criterion
    call = operating_point_call(model, OperatingPoint.of({"name": "confidence", "threshold": 0.0}))
    examples = encoded(len(trace))
    with torch.inference_mode():
        np.testing.assert_allclose(call(examples[:8]), trace.all_logits[:8, 0], atol=1e-5)
        dense = {name: call(examples[:8]) for name, call in baseline_calls(model).items()}
    np.testing.assert_allclose(dense[PADDED], dense[ALL_OFF], atol=1e-4)
    assert model.exit_criterion is before


def test_the_fit_pairs_baselines_with_the_probes_of_the_same_round(
    counter: WorkCounter, ticking: Callable[[list[float]], Callable[[], float]]
) -> None:
    machine = LatencyModel(counter, 2, dict.fromkeys(WORK, 0.0) | {"blocks": 1e-3, "tokens": 1e-4}, 0.0)
    lengths = [*FULL, [7, 5, 4, 4, 0], [9, 9, 9, 9, 0]]
    runs = {f"at {depth}": made_replay([depth] * 5, lengths) for depth in (1, 3)}
    depths = {"at 1": 1, "at 3": None}
    probes = {name: Probe(lambda batch: None, run, depths[name]) for name, run in runs.items()}
    ours = {name: machine.predict_ms(run.take(range(4))) / 1e3 for name, run in runs.items()}
    whole = ours["at 1"] + ours["at 3"]
    one_round = [*(0.025 * whole / whole.mean()), *ours["at 1"], *ours["at 3"]]
    clock = ticking([slow * seconds for slow in (1.0, 4.0, 1.0) for seconds in one_round])
    text = {"input_ids": [1, 2]}
    # the fifth text does not fill a batch and is not answered
    calls = {PADDED: lambda batch: None} | {name: probe.call for name, probe in probes.items()}
    timed = measure(calls, [text] * 4, 2, Budget(rounds=3, warmup=0), clock=clock)
    fit = fit_probes(timed, probes, counter, 2)
    assert fit.baseline_ms[PADDED] == pytest.approx(25.0)
    assert fit.baseline_interval[PADDED] == pytest.approx((25.0, 25.0))
    for name, seconds in ours.items():
        assert fit.probe_ms[name] == pytest.approx((1e3 * seconds.mean(), 1e3 * seconds.mean()))
    assert fit.depth_ms == {1: pytest.approx(1e3 * ours["at 1"].mean())}
    unseen = made_replay([2, 1, 3, 3], lengths[:4])
    expected = machine.predict_ms(unseen)
    np.testing.assert_allclose(fit.latency(counter, 2).predict_ms(unseen), expected, rtol=0.1)


def test_a_replay_can_be_taken_apart(trace: Trace) -> None:
    run = replay(trace, OperatingPoint.of({"name": "confidence", "threshold": 0.6}))
    part = run.take([3, 1])
    assert part.exit_depth.tolist() == [run.exit_depth[3], run.exit_depth[1]]
    assert np.array_equal(part.tokens_kept[0], run.tokens_kept[3])
