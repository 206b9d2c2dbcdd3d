"""The protocol of a benchmark, on a clock of our own: order, pairing and what is made of the times."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from eat.benchmark.clock import clock_of, num_threads
from eat.benchmark.protocol import Budget, Timed, measure


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
    timed = measure(calls, range(5), 1, Budget(seconds=4.0, rounds=2, warmup=3), clock=clock)
    assert called == ["a0", "b0", "a0", "a1", "b0", "b1", "a0", "b0", "a0", "b0"]
    assert (timed.examples, timed.warmup) == (1, 3)
    measure(calls, range(5), 1, Budget(seconds=0.1, rounds=1, warmup=9, short_warmup=True), clock=ticking([1.0] * 4))


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
def test_a_budget_cuts_batches_first_then_rounds(seconds_per_batch: float, expected: tuple[int, int]) -> None:
    assert Budget(seconds=10, rounds=5, min_batches=2, min_rounds=3).fit(seconds_per_batch, 10) == expected


def test_rounds_are_cut_only_where_that_is_allowed() -> None:
    assert Budget(seconds=10, rounds=2, min_rounds=2).fit(9.0, batches=4) == (1, 2)
    assert Budget(seconds=10, rounds=5).fit(9.0, batches=4) == (1, 5)


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
    assert list(timed.without("a").seconds) == ["b"]


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
