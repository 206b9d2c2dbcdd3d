"""Side-by-side timing: the same inputs through every contender, interleaved, round after round."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from eat.benchmark.calls import Call as Call
from eat.traces.statistics import median_interval

Clock = Callable[[], float]
"""Seconds, monotonic."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """What one contender needed; ratios are to a baseline, above 1 when this one is faster.

    Attributes:
        latency_ms: 50th, 95th and 99th percentile over all calls of all rounds, in ms.
        examples_per_s: Examples per second, median over the rounds.
        speedup: Median over the rounds of (baseline's time / this one's) in the same round.
        speedup_low: Lower end of its bootstrap 95 % interval.
        speedup_high: Upper end.
    """

    latency_ms: tuple[float, float, float]
    examples_per_s: float
    speedup: float
    speedup_low: float
    speedup_high: float


def clock_of(device: torch.device) -> Clock:
    """Return what times calls on a device: the host's clock, on CUDA one made of events."""
    return CudaClock(device) if device.type == "cuda" else time.perf_counter


class CudaClock:
    """A clock of CUDA events: waits for all work of the device, then reads the device's own time.

    Args:
        device: A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds = 0.0
        self._last = self._event()

    def __call__(self) -> float:
        """Return the seconds since the clock was made."""
        event = self._event()
        self._seconds += self._last.elapsed_time(event) / 1e3  # summed up here: events keep single precision
        self._last = event
        return self._seconds

    def _event(self) -> Any:
        torch.cuda.synchronize(self.device)
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        event.synchronize()
        return event


def warm_up(
    calls: Mapping[str, Call],
    batches: Sequence[Any],
    warmup: int,
    clock: Clock = time.perf_counter,
) -> float:
    """Call every contender ``warmup`` times and say about how long one call of each takes, together, in seconds.

    The median of each contender's calls is taken: the first ones set things up. Without warm-up calls this is 0.
    """
    total = 0.0
    with torch.inference_mode():
        for call in calls.values():
            seconds = []
            for index in range(warmup):
                began = clock()
                call(batches[index % len(batches)])
                seconds.append(clock() - began)
            total += float(np.median(seconds)) if seconds else 0.0
    return total


def time_rounds(
    calls: Mapping[str, Call],
    batches: Mapping[str, Sequence[Any]],
    *,
    rounds: int = 5,
    block: int = 16,
    clock: Clock = time.perf_counter,
) -> dict[str, Float[np.ndarray, "rounds batches"]]:
    """Time every call of every contender, in seconds.

    Contenders take turns after every ``block`` batches (A B C A B C ...), so that a machine which slows down slows all
    of them; within a block a model's weights stay as warm as they would in service.

    Args:
        calls: What answers a batch, by contender; warmed up.
        batches: What each contender is given: the same examples, in as many batches; it may group them its own way.
        rounds: How often everything is repeated, at least 1.
        block: Batches in a row before the next contender has its turn.
        clock: Seconds, monotonic; tests give their own.

    Raises:
        ValueError: If there is nothing to time, or contenders have different numbers of batches.
    """
    if rounds < 1 or block < 1 or not calls:
        raise ValueError(f"expected contenders, rounds >= 1 and block >= 1, got {len(calls)}, {rounds} and {block}")
    counts = {len(batches[name]) for name in calls}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"every contender needs the same number of batches, at least one; got {sorted(counts)}")
    count = counts.pop()
    seconds = {name: np.zeros((rounds, count)) for name in calls}
    with torch.inference_mode():
        for done in range(rounds):
            for start in range(0, count, block):
                for name, call in calls.items():
                    for index in range(start, min(start + block, count)):
                        batch = batches[name][index]
                        began = clock()
                        call(batch)
                        seconds[name][done, index] = clock() - began
    return seconds


def summarise(
    seconds: Mapping[str, Float[np.ndarray, "rounds batches"]], examples: int, baseline: str
) -> dict[str, Timing]:
    """Turn times into percentiles, throughput and paired speed-ups over a baseline.

    Args:
        seconds: Time of each call, by contender.
        examples: Examples in a round.
        baseline: The contender that the others are compared with.
    """
    totals = {name: times.sum(axis=1) for name, times in seconds.items()}
    timings = {}
    for name, times in seconds.items():
        ratios = totals[baseline] / totals[name]
        low, high = median_interval(ratios)
        p50, p95, p99 = np.percentile(times * 1e3, [50, 95, 99])
        timings[name] = Timing(
            latency_ms=(float(p50), float(p95), float(p99)),
            examples_per_s=float(np.median(examples / totals[name])),
            speedup=float(np.median(ratios)),
            speedup_low=low,
            speedup_high=high,
        )
    return timings


@contextmanager
def num_threads(threads: int) -> Iterator[None]:
    """Fix the number of threads inside torch's operators for a while.

    Raises:
        ValueError: If it is not at least 1.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
