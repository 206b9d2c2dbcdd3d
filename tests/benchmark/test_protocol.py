"""The protocol of a benchmark, on a clock of our own: order, pairing and what is made of the times."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from eat.benchmark.clock import clock_of, num_threads
from eat.benchmark.protocol import ENOUGH_BATCHES, Budget, Timed, measure
from tests.made.clock import WorkClock


def once(rounds: int = 1, **more: Any) -> Budget:
    return Budget(rounds=rounds, warmup=0, **more)


def test_contenders_take_turns() -> None:
    called: list[str] = []
    calls = {"a": lambda batch: called.append(f"a{batch[0]}"), "b": lambda batch: called.append(f"b{batch[0]}")}
    timed = measure(calls, range(24), 8, once(2))
    one_round = ["a0", "a8", "b0", "b8", "a16", "b16"]  # blocks of 16 examples
    assert called == [*one_round, *one_round]
    assert {name: times.shape for name, times in timed.seconds.items()} == {"a": (2, 3), "b": (2, 3)}
    assert (timed.examples, timed.rounds, timed.warmup) == (24, 2, 0)


def test_times_go_where_they_belong(ticking: Callable[[list[float]], Callable[[], float]]) -> None:
    clock = ticking([1.0, 2.0, 0.5, 0.25])
    timed = measure({"a": lambda batch: None, "b": lambda batch: None}, [0, 1], 1, once(), clock=clock)
    assert timed.seconds["a"].tolist() == [[1.0, 2.0]]
    assert timed.seconds["b"].tolist() == [[0.5, 0.25]]


def test_warm_up_finds_out_how_much_there_is_time_for(ticking: Callable[[list[float]], Callable[[], float]]) -> None:
    called: list[str] = []
    calls = {name: lambda batch, name=name: called.append(f"{name}{batch[0]}") for name in "ab"}
    clock = ticking([9.0, 3.0, 1.0, 1.0, 0.5, 0.5, *[0.0] * 4])  # first calls set things up; then 1.5 s for both
    timed = measure(calls, range(5), 1, Budget(seconds=19.0, rounds=2, warmup=3, short_warmup=False), clock=clock)
    assert called == ["a0", "b0", "a0", "a1", "b0", "b1", "a0", "b0", "a0", "b0"]
    assert (timed.examples, timed.warmup) == (1, 3)
    measure(calls, range(5), 1, Budget(seconds=0.1, rounds=1, warmup=9, short_warmup=True), clock=ticking([1.0] * 4))


@pytest.mark.parametrize(
    ("seconds_per_batch", "expected"),
    [
        (0.01, (10, 5)),  # there is time for everything
        (0.25, (8, 5)),  # enough batches, all rounds
        (0.4, (8, 3)),  # enough batches, fewer rounds
        (0.5, (6, 3)),  # fewer of both
        (2.0, (2, 3)),  # as few as may be
        (9.0, (2, 3)),  # never fewer than three
        (0.0, (10, 5)),
    ],
)
def test_a_budget_cuts_rounds_first_then_batches(seconds_per_batch: float, expected: tuple[int, int]) -> None:
    assert Budget(seconds=10, rounds=5, min_batches=2, min_rounds=3).fit(seconds_per_batch, 10) == expected


def test_rounds_are_cut_only_where_that_is_allowed() -> None:
    assert Budget(seconds=10, rounds=2, min_rounds=2).fit(9.0, batches=4) == (1, 2)
    assert Budget(seconds=10, rounds=5, min_rounds=5).fit(9.0, batches=4) == (1, 5)


def test_warm_up_is_part_of_the_budget() -> None:
    budget = Budget(seconds=20, rounds=5)
    assert (budget.fit(0.1, 40), budget.fit(0.1, 40, spent=10.0)) == ((40, 5), (20, 5))


def test_a_measurement_keeps_to_its_seconds(caplog: pytest.LogCaptureFixture) -> None:
    clock = WorkClock()
    calls = {"slow": lambda batch: clock.work(0.3), "fast": lambda batch: clock.work(0.1)}
    with caplog.at_level("INFO", logger="eat"):
        timed = measure(calls, range(256), 32, Budget(seconds=15.0), clock=clock)
    assert (timed.examples, timed.rounds, timed.warmup) == (256, 3, 10)
    assert clock.now == pytest.approx(0.4 * (10 + 3 * 8)) and clock.now <= 15
    (said,) = caplog.messages
    assert said == "timing 2 contenders on 256 texts in 8 batches of 32, 3 rounds: about 10 s"


def test_what_cannot_be_kept_to_is_said(caplog: pytest.LogCaptureFixture) -> None:
    clock = WorkClock()
    with caplog.at_level("INFO", logger="eat"):
        measure({"a": lambda batch: clock.work(1.0)}, range(96), 32, Budget(seconds=2, min_batches=8), clock=clock)
    assert "3 rounds: about 9 s, more than seconds=2: fewer batches or rounds would say nothing" in caplog.text
    assert "; below 8 batches speed-ups have no interval that holds for other texts" in caplog.text


def test_the_interval_covers_other_texts_and_other_rounds() -> None:
    """Few texts whose cost varies, on a machine that drifts and stumbles: 95 % of intervals hold the whole ratio."""
    generator = np.random.default_rng(0)
    lengths = 5 + generator.gamma(2.0, 10.0, size=20_000)
    ours = 1 + 0.08 * lengths * np.where(generator.random(len(lengths)) < 0.5, 0.4, 1.0)  # half of them leave early
    theirs, size = 2 + 0.2 * lengths, 4
    whole = theirs.sum() / ours.sum()
    covered = by_rounds = 0
    for _ in range(trials := 200):
        clock = WorkClock()

        def costs(cost: np.ndarray, clock: WorkClock = clock) -> Callable[[Any], None]:
            def call(batch: Any) -> None:
                drift = 1 + 0.2 * np.sin(clock.now / 2000)  # slower for a while, for all
                clock.work(float(cost[batch].sum() * drift * generator.lognormal(0, 0.03)))

            return call

        texts = generator.choice(len(lengths), size=ENOUGH_BATCHES * size, replace=False)
        calls = {"theirs": costs(theirs), "ours": costs(ours)}
        timed = measure(calls, texts.tolist(), size, once(3), clock=clock)
        _, low, high = timed.over("theirs")["ours"].speedup
        covered += low <= whole <= high
        ratios = timed.seconds["theirs"].sum(1) / timed.seconds["ours"].sum(1)
        by_rounds += ratios.min() <= whole <= ratios.max()
    assert 0.9 <= covered / trials <= 0.99
    assert by_rounds / trials < 0.5  # what an interval over the rounds alone would have covered


def test_grouped_batches_share_their_time_among_their_texts(
    ticking: Callable[[list[float]], Callable[[], float]],
) -> None:
    examples = [{"input_ids": [0] * n} for n in (9, 1, 8, 2, 7)]  # grouped by two: 1 2 | 7 8 | 9
    calls = {"plain": lambda batch: np.array([[float(len(e["input_ids"]))] for e in batch])}
    calls["grouped"] = calls["plain"]
    clock = ticking([10.0, 10.0, 10.0, 2.0, 4.0, 1.0])
    timed = measure(calls, examples, 2, once(), clock=clock, grouped={"grouped"})
    assert timed.seconds["grouped"].tolist() == [[2.0, 4.0, 1.0]]
    assert timed.shared["grouped"].tolist() == [[1.0 + 1.0, 2.0 + 1.0, 2.0]]  # 9 and 1; 8 and 2; 7
    assert timed.over("plain")["grouped"].speedup[0] == pytest.approx(30 / 7)
    assert timed.logits("grouped").tolist() == timed.logits("plain").tolist() == [[9], [1], [8], [2], [7]]


def test_the_answers_are_those_of_the_first_round() -> None:
    counts = iter(range(100))
    timed = measure({"a": lambda batch: np.array([[float(next(counts))] for _ in batch])}, range(5), 2, once(3))
    assert timed.logits("a").tolist() == [[0], [1], [2], [3], [4]]


def test_batches_of_like_length_and_other_inputs() -> None:
    seen: dict[str, list[Any]] = {"a": [], "grouped": [], "texts": []}
    calls = {name: batches.append for name, batches in seen.items()}
    examples = [{"input_ids": [0] * n} for n in (3, 1, 2)]
    measure(calls, examples, 2, once(), grouped={"grouped"}, inputs={"texts": ["x", "y", "z"]})
    lengths = {name: [[len(e["input_ids"]) for e in batch] for batch in seen[name]] for name in ("a", "grouped")}
    assert lengths == {"a": [[3, 1], [2]], "grouped": [[1, 2], [3]]}
    assert seen["texts"] == [["x", "y"], ["z"]]


@pytest.mark.parametrize("training", [False, True])
def test_gradients_only_where_calls_train(training: bool) -> None:
    seen: list[bool] = []
    measure({"a": lambda batch: seen.append(torch.is_inference_mode_enabled())}, [0], 1, once(), training=training)
    assert seen == [not training]


class FakeEvent:
    """Stands in for a CUDA event: notes when it was recorded on a device whose clock moves 2 ms a record."""

    now_ms = 0.0

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self, stream: object) -> None:
        FakeEvent.now_ms += 2.0
        self.at = FakeEvent.now_ms

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, other: "FakeEvent") -> float:
        return other.at - self.at


def test_on_cuda_the_devices_events_are_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[object] = []
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    device = torch.device("cuda")
    clock = clock_of(device)
    assert [clock(), clock(), clock()] == pytest.approx([0.002, 0.004, 0.006])
    assert waited == [device] * 4
    assert clock_of(torch.device("cpu")) is time.perf_counter


def test_ratios_are_paired_within_rounds() -> None:
    # The machine is twice as slow in the second round: the ratio stays 2, whatever the times say alone.
    seconds = {"a": np.array([[2.0, 2.0], [4.0, 4.0]]), "b": np.array([[1.0, 1.0], [2.0, 2.0]])}
    timing = Timed(seconds, examples=4, rounds=2, warmup=0).over("a")["b"]
    assert timing.speedup == (2.0, 2.0, 2.0)
    assert timing.latency_ms[0] == 1500.0
    assert timing.examples_per_s == np.median([4 / 2, 4 / 4])


def test_interval_covers_the_rounds() -> None:
    seconds = {"a": np.ones((5, 1)), "b": np.array([[1.25], [1.0], [0.8], [0.9], [1.1]])}
    timing = Timed(seconds, examples=1, rounds=5, warmup=0).over("a")["b"]
    assert timing.speedup == (1.0, 0.8, 1.25)


def test_tokenising_is_added_to_both() -> None:
    timed = Timed({"a": np.array([[3.0]]), "b": np.array([[1.0]])}, examples=1, rounds=1, warmup=0)
    assert timed.over("a", beside=np.array([[1.0]]))["b"].speedup == (2.0, 2.0, 2.0)


def test_nothing_to_time() -> None:
    with pytest.raises(ValueError, match="expected contenders, examples, rounds >= 1"):
        measure({}, [0], 1, once())
    with pytest.raises(ValueError, match="got 1, 0, 1 and 1"):
        measure({"a": print}, [], 1, once())
    with pytest.raises(ValueError, match="got 1, 1, 0 and 1"):
        measure({"a": print}, [0], 1, once(0))


def test_threads_are_set_and_given_back() -> None:
    before = torch.get_num_threads()
    with num_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"), num_threads(0):
        pass
