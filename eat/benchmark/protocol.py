"""The one timing protocol: the same inputs through every contender, interleaved, round after round, ratios paired.

The benchmark of a run, the plan of a budget, the suite and the training speed are all measured by `measure`.
"""

import dataclasses
import logging
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
from eat.traces.statistics import paired_ratio

Ratio = tuple[float, float, float]
"""A paired speed-up, above 1 when faster than the baseline, with the ends of its bootstrap 95 % interval."""
Seconds = Float[np.ndarray, "rounds batches"]

log = logging.getLogger(__name__)

BLOCK = 16
"""About so many examples in a row before the next contender has its turn."""
ENOUGH_BATCHES = 8
"""From so many batches on a speed-up has an interval: fewer say too little of other texts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """How long contenders are timed.

    Where time is short rounds are left out first, until batches would be too few for an interval; then batches.
    """

    seconds: int | float = math.inf  # about so long may warm-up and all rounds together take
    rounds: int = 5  # how often everything is repeated
    warmup: int = 10  # untimed calls of each contender before; without any, nothing is known and nothing is left out
    min_batches: int = 1  # so many batches are timed, however slow they are
    min_rounds: int = 3  # so many rounds, likewise, unless fewer are wanted
    short_warmup: bool = True  # let warm-up calls after the first take a quarter of the seconds at most

    def fit(self, seconds_per_batch: float, batches: int, spent: float = 0.0) -> tuple[int, int]:
        """Return how many batches and rounds there is time for, after so many seconds of warm-up."""
        if not seconds_per_batch or math.isinf(self.seconds):
            return batches, self.rounds
        least, left = min(self.rounds, self.min_rounds), max(0.0, self.seconds - spent)
        fitting = int(left / (seconds_per_batch * self.rounds))
        with_few_rounds = int(left / (seconds_per_batch * least))
        count = min(batches, max(self.min_batches, fitting, min(with_few_rounds, ENOUGH_BATCHES)))
        return count, min(self.rounds, max(least, int(left / (seconds_per_batch * count))))


@dataclasses.dataclass(frozen=True)
class Timing:
    """What one contender needed."""

    latency_ms: tuple[float, float, float]  # 50th, 95th and 99th percentile over all calls of all rounds, in ms
    examples_per_s: float  # examples per second, median over the rounds
    speedup: Ratio  # baseline's time / this one's, with its interval: `paired_ratio`


@dataclasses.dataclass(frozen=True, eq=False)
class Timed:
    """What was measured, and what was done for it."""

    seconds: Mapping[str, Seconds]  # time of each call, by contender
    examples: int  # examples in a round: the first of those given
    rounds: int  # how often everything was repeated
    warmup: int  # untimed calls of each contender before
    # Of those grouped: their time by the others' batches, and the examples in their order.
    shared: Mapping[str, Seconds] = dataclasses.field(default_factory=dict)
    orders: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)
    # What each call of the first round returned.
    answers: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)

    def over(self, baseline: str, beside: Seconds | None = None) -> dict[str, Timing]:
        """Return percentiles, throughput and paired speed-ups over a baseline.

        Time ``beside``, such as that of tokenising, is added to every contender's. Of a contender whose batches hold
        other texts than the baseline's, each text has an equal share in its call's time.
        """
        timings = {}
        paired = {**self.seconds, **self.shared}
        for name, seconds in self.seconds.items():
            times, ours, theirs = (
                s if beside is None else s + beside for s in (seconds, paired[name], paired[baseline])
            )
            p50, p95, p99 = np.percentile(times * 1e3, [50, 95, 99]).tolist()
            throughput = float(np.median(self.examples / times.sum(axis=1)))
            timings[name] = Timing((p50, p95, p99), throughput, paired_ratio(theirs, ours))
        return timings

    def logits(self, name: str) -> Float[np.ndarray, "examples classes"]:
        """Return what a contender answered in the first round, in the examples' order."""
        rows = np.concatenate(self.answers[name])
        return rows[np.argsort(self.orders[name])] if name in self.orders else rows


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
        warmup, per_batch, spent = _warm_up(calls, batches, budget, clock)
        count, rounds = budget.fit(per_batch, len(batches_of(examples, batch_size)), spent)
        examples = examples[: count * batch_size]
        _announce(calls, examples, batch_size, count, rounds, per_batch, budget)
        batches |= {name: batches_of(by_length(examples), batch_size) for name in calls if name in grouped}
        seconds, answers = _time_rounds(calls, batches, count, rounds, max(1, BLOCK // batch_size), clock)
    orders = {name: _order(examples) for name in calls if name in grouped}
    shared = {name: _shares(seconds[name], order, batch_size) for name, order in orders.items()}
    return Timed(seconds, len(examples), rounds, warmup, shared=shared, orders=orders, answers=answers)


def enough(examples: int, batch_size: int) -> bool:
    """Whether so many examples fill enough batches for an interval that holds for other texts too."""
    return examples // batch_size >= ENOUGH_BATCHES


def batches_of(examples: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Cut examples into batches, in order; the last may be smaller."""
    return [examples[start : start + size] for start in range(0, len(examples), size)]


def by_length(examples: Sequence[Encoded]) -> list[Encoded]:
    """Sort examples by their number of tokens."""
    return [examples[index] for index in _order(examples)]


def _order(examples: Sequence[Encoded]) -> list[int]:
    return sorted(range(len(examples)), key=lambda index: len(examples[index]["input_ids"]))


def _shares(seconds: Seconds, order: Sequence[int], batch_size: int) -> Seconds:
    """Give each example an equal share of its call's time, and sum the shares over batches in the examples' order."""
    starts = np.arange(0, len(order), batch_size)
    sizes = np.diff([*starts, len(order)])
    of_examples = np.empty((len(seconds), len(order)))
    of_examples[:, order] = np.repeat(seconds / sizes, sizes, axis=1)
    return np.add.reduceat(of_examples, starts, axis=1)


def _announce(
    calls: Mapping[str, Call],
    examples: Sequence[Any],
    batch_size: int,
    batches: int,
    rounds: int,
    per_batch: float,
    budget: Budget,
) -> None:
    """Say what is about to be timed and how long it will take."""
    text = f"timing {len(calls)} contenders on {len(examples)} texts in {batches} batches of {batch_size}"
    text += f", {rounds} rounds"
    seconds = per_batch * batches * rounds
    if seconds:
        text += f": about {seconds:.0f} s"
        if seconds > budget.seconds:
            text += f", more than seconds={budget.seconds:g}: fewer batches or rounds would say nothing"
    if not enough(len(examples), batch_size):
        text += f"; below {ENOUGH_BATCHES} batches speed-ups have no interval that holds for other texts"
    log.info("%s", text)


def _warm_up(
    calls: Mapping[str, Call], batches: Mapping[str, Sequence[Any]], budget: Budget, clock: Clock
) -> tuple[int, float, float]:
    """Return how often each contender was called, about how long a call of each takes, together, and what all took.

    First calls set things up: where there are more, the median of those counts.
    """
    if budget.warmup < 1:
        return 0, 0.0, 0.0
    first = sum(_time_calls(call, batches[name], 1, clock)[0][0] for name, call in calls.items())
    again = budget.warmup - 1
    if budget.short_warmup and first > 0:
        again = int(min(again, budget.seconds / (4 * first)))
    if again < 1:
        return 1, first, first
    more = [_time_calls(call, batches[name], again, clock)[0] for name, call in calls.items()]
    return 1 + again, float(sum(np.median(seconds) for seconds in more)), first + float(np.sum(more))


def _time_calls(call: Call, batches: Sequence[Any], count: int, clock: Clock) -> tuple[list[float], list[Any]]:
    """Time so many calls, over the batches in turn; return their seconds and answers."""
    seconds, answers = [], []
    for index in range(count):
        batch = batches[index % len(batches)]
        began = clock()
        answer = call(batch)
        seconds.append(clock() - began)
        answers.append(answer)
    return seconds, answers


def _time_rounds(
    calls: Mapping[str, Call], batches: Mapping[str, Sequence[Any]], count: int, rounds: int, block: int, clock: Clock
) -> tuple[dict[str, Seconds], dict[str, list[Any]]]:
    """Return the seconds of all calls, and the answers of the first round."""
    seconds = {name: np.zeros((rounds, count)) for name in calls}
    answers: dict[str, list[Any]] = {name: [] for name in calls}
    for done in range(rounds):
        for start in range(0, count, block):
            for name, call in calls.items():
                turn = batches[name][start : min(start + block, count)]
                seconds[name][done, start : start + block], said = _time_calls(call, turn, len(turn), clock)
                if done == 0:
                    answers[name] += said
    return seconds, answers
