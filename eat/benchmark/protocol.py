"""The one timing protocol: the same inputs through every contender, interleaved, round after round, ratios paired.

The benchmark of a run, the plan of a budget, the suite and the training speed are all measured by :func:`measure`.
"""

import dataclasses
import math
import time
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from eat.benchmark.clock import Clock
from eat.benchmark.engines import Call, Encoded
from eat.traces.statistics import median_interval

Ratio = tuple[float, float, float]
"""A paired speed-up, above 1 when faster than the baseline, with the ends of its bootstrap 95 % interval."""
Seconds = Float[np.ndarray, "rounds batches"]

BLOCK = 16
"""About so many examples in a row before the next contender has its turn."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """How long contenders are timed. Where time is short batches go first, then rounds."""

    seconds: int | float = math.inf  # about so long may all rounds together take
    rounds: int = 5  # how often everything is repeated
    warmup: int = 10  # untimed calls of each contender before; without any, nothing is known and nothing is left out
    min_batches: int = 1  # so many batches are timed, however slow they are
    min_rounds: int | None = None  # so many rounds, likewise; None never leaves one out
    short_warmup: bool = False  # let warm-up calls after the first take a quarter of the seconds at most

    def fit(self, seconds_per_batch: float, batches: int) -> tuple[int, int]:
        """Return how many batches and rounds there is time for."""
        if not seconds_per_batch or math.isinf(self.seconds):
            return batches, self.rounds
        fitting = int(self.seconds / (seconds_per_batch * self.rounds))
        count = min(batches, max(self.min_batches, fitting))
        least = self.rounds if self.min_rounds is None else self.min_rounds
        return count, min(self.rounds, max(least, int(self.seconds / (seconds_per_batch * count))))


@dataclasses.dataclass(frozen=True)
class Timing:
    """What one contender needed."""

    latency_ms: tuple[float, float, float]  # 50th, 95th and 99th percentile over all calls of all rounds, in ms
    examples_per_s: float  # examples per second, median over the rounds
    speedup: Ratio  # median over the rounds of (baseline's time / this one's) in the same round, with its interval


@dataclasses.dataclass(frozen=True, eq=False)
class Timed:
    """What was measured, and what was done for it."""

    seconds: Mapping[str, Seconds]  # time of each call, by contender
    examples: int  # examples in a round: the first of those given
    rounds: int  # how often everything was repeated
    warmup: int  # untimed calls of each contender before

    def over(self, baseline: str, beside: Seconds | None = None) -> dict[str, Timing]:
        """Return percentiles, throughput and paired speed-ups over a baseline.

        Time ``beside``, such as that of tokenising, is added to every contender's. Ratios are of whole rounds, so that
        it does not matter which call it is added to.
        """
        timings = {}
        for name, seconds in self.seconds.items():
            times, theirs = (s if beside is None else s + beside for s in (seconds, self.seconds[baseline]))
            totals = times.sum(axis=1)
            ratios = theirs.sum(axis=1) / totals
            p50, p95, p99 = np.percentile(times * 1e3, [50, 95, 99]).tolist()
            throughput = float(np.median(self.examples / totals))
            timings[name] = Timing((p50, p95, p99), throughput, (float(np.median(ratios)), *median_interval(ratios)))
        return timings


def measure(
    calls: Mapping[str, Call],
    examples: Sequence[Any],
    batch_size: int,
    budget: Budget,
    *,
    clock: Clock = time.perf_counter,
    grouped: Collection[str] = (),
    inputs: Mapping[str, Sequence[Any]] = MappingProxyType({}),
    training: bool = False,
) -> Timed:
    """Warm contenders up, then time every call of each, with as many threads as torch has now.

    Contenders take turns after every block of batches (A B C A B C ...), so that a machine which slows down slows all
    of them; within a block a model's weights stay as warm as they would in service.

    Args:
        calls: What answers a batch, by contender.
        examples: Token ids, in random order; slow contenders get the first of them only.
        batch_size: Examples of a call; the last call may have fewer.
        budget: How much is measured.
        clock: Seconds, monotonic.
        grouped: Contenders whose batches hold examples of like length.
        inputs: Contenders that are given something else than the examples, row for row, such as their texts.
        training: True where calls compute gradients.

    Raises:
        ValueError: If there is nothing to time, or nothing to time it with.
    """
    if budget.rounds < 1 or batch_size < 1 or not calls or not examples:
        raise ValueError(
            f"expected contenders, examples, rounds >= 1 and batch_size >= 1, got {len(calls)}, {len(examples)}, "
            f"{budget.rounds} and {batch_size}"
        )
    batches = {name: batches_of(inputs.get(name, examples), batch_size) for name in calls}
    with torch.inference_mode(not training):
        warmup, per_batch = _warm_up(calls, batches, budget, clock)
        count, rounds = budget.fit(per_batch, len(batches_of(examples, batch_size)))
        examples = examples[: count * batch_size]
        batches |= {name: batches_of(by_length(examples), batch_size) for name in calls if name in grouped}
        seconds = _time_rounds(calls, batches, count, rounds, max(1, BLOCK // batch_size), clock)
    return Timed(seconds, len(examples), rounds, warmup)


def batches_of(examples: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Cut examples into batches, in order; the last may be smaller."""
    return [examples[start : start + size] for start in range(0, len(examples), size)]


def by_length(examples: Sequence[Encoded]) -> list[Encoded]:
    """Sort examples by their number of tokens."""
    return sorted(examples, key=lambda example: len(example["input_ids"]))


def _warm_up(
    calls: Mapping[str, Call], batches: Mapping[str, Sequence[Any]], budget: Budget, clock: Clock
) -> tuple[int, float]:
    """Return how often each contender was called, and about how long a call of each takes, together, in seconds.

    First calls set things up: where there are more, the median of those counts.
    """
    if budget.warmup < 1:
        return 0, 0.0
    first = sum(_durations(call, batches[name], 1, clock)[0] for name, call in calls.items())
    again = budget.warmup - 1
    if budget.short_warmup and first > 0:
        again = min(again, int(budget.seconds / (4 * first)))
    if again < 1:
        return 1, first
    more = [_durations(call, batches[name], again, clock) for name, call in calls.items()]
    return 1 + again, float(sum(np.median(seconds) for seconds in more))


def _durations(call: Call, batches: Sequence[Any], count: int, clock: Clock) -> list[float]:
    """Time so many calls, over the batches in turn."""
    seconds = []
    for index in range(count):
        batch = batches[index % len(batches)]
        began = clock()
        call(batch)
        seconds.append(clock() - began)
    return seconds


def _time_rounds(
    calls: Mapping[str, Call], batches: Mapping[str, Sequence[Any]], count: int, rounds: int, block: int, clock: Clock
) -> dict[str, Seconds]:
    seconds = {name: np.zeros((rounds, count)) for name in calls}
    for done in range(rounds):
        for start in range(0, count, block):
            for name, call in calls.items():
                turn = batches[name][start : min(start + block, count)]
                seconds[name][done, start : start + block] = _durations(call, turn, len(turn), clock)
    return seconds
