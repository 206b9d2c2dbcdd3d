"""The protocol of a benchmark, on a clock of our own: order, pairing and what is made of the times."""

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from eat.benchmark.clock import clock_of, num_threads, summarise, time_rounds, warm_up


def test_contenders_take_turns() -> None:
    called: list[str] = []
    calls = {"a": lambda batch: called.append(f"a{batch}"), "b": lambda batch: called.append(f"b{batch}")}
    seconds = time_rounds(calls, {"a": [0, 1, 2], "b": [0, 1, 2]}, rounds=2, block=2)
    one_round = ["a0", "a1", "b0", "b1", "a2", "b2"]
    assert called == [*one_round, *one_round]
    assert {name: times.shape for name, times in seconds.items()} == {"a": (2, 3), "b": (2, 3)}


def test_times_go_where_they_belong(ticking: Callable[[list[float]], Callable[[], float]]) -> None:
    clock = ticking([1.0, 2.0, 0.5, 0.25])
    calls = {"a": lambda batch: None, "b": lambda batch: None}
    seconds = time_rounds(calls, {"a": [0, 1], "b": [0, 1]}, rounds=1, clock=clock)
    assert seconds["a"].tolist() == [[1.0, 2.0]]
    assert seconds["b"].tolist() == [[0.5, 0.25]]


def test_warm_up_says_how_long_a_call_of_each_takes(ticking: Callable[[list[float]], Callable[[], float]]) -> None:
    called: list[int] = []
    clock = ticking([9.0, 1.0, 1.0, 0.5, 0.25, 0.25])
    assert warm_up({"a": called.append, "b": called.append}, [0, 1], 3, clock=clock) == 1.25
    assert called == [0, 1, 0, 0, 1, 0]
    assert warm_up({"a": called.append}, [0], 0) == 0.0


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
    timing = summarise(seconds, examples=4, baseline="a")["b"]
    assert (timing.speedup, timing.speedup_low, timing.speedup_high) == (2.0, 2.0, 2.0)
    assert timing.latency_ms[0] == 1500.0
    assert timing.examples_per_s == np.median([4 / 2, 4 / 4])


def test_interval_covers_the_rounds() -> None:
    seconds = {"a": np.ones((5, 1)), "b": np.array([[1.25], [1.0], [0.8], [0.9], [1.1]])}
    timing = summarise(seconds, examples=1, baseline="a")["b"]
    assert (timing.speedup, timing.speedup_low, timing.speedup_high) == (1.0, 0.8, 1.25)


@pytest.mark.parametrize(
    ("batches", "options", "message"),
    [
        ({"a": [0], "b": [0, 1]}, {}, "same number of batches"),
        ({"a": [], "b": []}, {}, "at least one"),
        ({"a": [0], "b": [0]}, {"rounds": 0}, "rounds >= 1"),
    ],
)
def test_bad_protocol(batches: dict[str, list[int]], options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        time_rounds({"a": print, "b": print}, batches, **options)


def test_threads_are_set_and_given_back() -> None:
    before = torch.get_num_threads()
    with num_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"), num_threads(0):
        pass
