"""One comparison: contenders on the same batches, within a budget of seconds, as rows."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from eat.benchmark.clock import clock_of, num_threads, summarise, time_rounds, warm_up
from eat.benchmark.contenders import ALL_OFF, Contender, Encoded, packed_call
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.cost import CostModel
from eat.suite.records import Row

MIN_ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class Entrant:
    """A contender and, where it is one of ours, the model whose work is counted.

    Attributes:
        contender: Who answers.
        model: Ours behind it; None for others.
    """

    contender: Contender
    model: AdaptiveForSequenceClassification | None = None


def ours(name: str, model: AdaptiveForSequenceClassification) -> Entrant:
    """Enter one of our models on packed rows."""
    return Entrant(Contender(name, "eat", packed_call(model)), model)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared on what.

    Attributes:
        inputs: Where the lengths come from, for the column of that name.
        batch_size: Examples in a call.
        examples: In random order; a slow comparison uses the first ones only.
        entrants: Who takes part; ours with everything off among them, which work is counted against.
        baselines: Names of the contenders that all are divided by, one row each.
        min_batches: So many batches are timed, however slow they are.
        length: Tokens of each example where all are as long.
    """

    inputs: str
    batch_size: int
    examples: Sequence[Encoded]
    entrants: Sequence[Entrant]
    baselines: Sequence[str]
    min_batches: int = 1
    length: int | None = None


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long a comparison may take.

    Attributes:
        seconds: About so long in all rounds together.
        rounds: At most so many; at least 3 of them where the seconds do not suffice.
        warmup: Untimed calls of each contender; fewer, but one at least, where a call is slow.
    """

    seconds: int | float
    rounds: int
    warmup: int

    def fit(self, seconds_per_batch: float, batches: int, min_batches: int) -> tuple[int, int]:
        """Return how many batches and rounds there is time for: batches go first, then rounds."""
        least = min(min_batches, batches)
        fitting = int(self.seconds / (seconds_per_batch * self.rounds)) if seconds_per_batch else batches
        count = min(batches, max(least, fitting))
        rounds = int(self.seconds / (seconds_per_batch * count)) if seconds_per_batch else self.rounds
        return count, min(self.rounds, max(MIN_ROUNDS, rounds))


def compare(comparison: Comparison, budget: Budget, threads: int, device: torch.device) -> list[Row]:
    """Measure a comparison.

    Args:
        comparison: What is compared.
        budget: How long it may take.
        threads: Threads inside operators.
        device: Where the models are; on a GPU its own events are the clock.

    Returns:
        A row for each baseline and contender, without the columns that the suite adds to all.
    """
    size = comparison.batch_size
    calls = {entrant.contender.name: entrant.contender.call for entrant in comparison.entrants}
    clock = clock_of(device)
    with num_threads(threads):
        first = warm_up(calls, _batches(comparison.examples[:size], size), 1, clock)
        again = min(budget.warmup - 1, int(budget.seconds / (4 * first)))
        everything = _batches(comparison.examples, size)
        once = warm_up(calls, everything, again, clock) if again > 1 else first
        count, rounds = budget.fit(once, len(everything), comparison.min_batches)
        examples = comparison.examples[: count * size]
        by_length = sorted(examples, key=_length)
        batches = {
            e.contender.name: _batches(by_length if e.contender.grouped else examples, size)
            for e in comparison.entrants
        }
        seconds = time_rounds(calls, batches, rounds=rounds, block=max(1, 16 // size), clock=clock)
    measured = {"examples": len(examples), "rounds": rounds, "warmup": 1 + max(0, again)}
    return _rows(comparison, seconds, examples, {"threads": threads, **measured})


def _rows(comparison: Comparison, seconds: dict[str, np.ndarray], examples: Sequence[Encoded], facts: Row) -> list[Row]:
    """Set times beside executed work."""
    tokens = sum(map(_length, examples))
    models = {e.contender.name: e.model for e in comparison.entrants if e.model is not None}
    dense = float(CostModel(models[ALL_OFF].config).dense(np.array([*map(_length, examples)])).sum())
    work = {name: executed_work(model, examples, dense, comparison.batch_size) for name, model in models.items()}
    rows = []
    for baseline in comparison.baselines:
        timings = summarise(seconds, len(examples), baseline)
        for entrant in comparison.entrants:
            name = entrant.contender.name
            timing, (ratio, early) = timings[name], work.get(name, (None, None))
            p50, p95, p99 = timing.latency_ms
            rows.append(
                {
                    "inputs": comparison.inputs,
                    "length": comparison.length,
                    "batch_size": comparison.batch_size,
                    "contender": name,
                    "engine": entrant.contender.engine,
                    **facts,
                    "latency_ms_p50": p50,
                    "latency_ms_p95": p95,
                    "latency_ms_p99": p99,
                    "examples_per_s": timing.examples_per_s,
                    "tokens_per_s": timing.examples_per_s * tokens / len(examples),
                    "flops_ratio": ratio,
                    "left_early": early,
                    "baseline": baseline,
                    "speedup": timing.speedup,
                    "speedup_low": timing.speedup_low,
                    "speedup_high": timing.speedup_high,
                    "efficiency": timing.speedup * ratio if ratio is not None and baseline == ALL_OFF else None,
                }
            )
    return rows


def executed_work(
    model: AdaptiveForSequenceClassification, examples: Sequence[Encoded], dense: float, batch_size: int
) -> tuple[float, float]:
    """Return the FLOPs executed over dense ones, and the share of examples that left early.

    A model in which nobody leaves is not run for this: its work follows from the lengths.

    Args:
        model: What executes them.
        examples: All that were timed.
        dense: FLOPs of our encoder with everything off on the same examples.
        batch_size: Examples in a batch.
    """
    if not (model.pruner.depths or model.exit_criterion.active):
        lengths = np.array([_length(example) for example in examples])
        kept = np.repeat(lengths[:, None], model.num_layers + 1, axis=1)
        depth = np.full(len(lengths), model.num_layers)
        return float(CostModel(model.config).executed(kept, depth, early_heads=False).sum()) / dense, 0.0
    executed, early = 0.0, 0
    device = next(model.parameters()).device
    for batch in _batches(examples, batch_size):
        ids = torch.tensor([token for example in batch for token in example["input_ids"]], device=device)
        with torch.inference_mode():
            output = model(ids, lengths=torch.tensor([*map(_length, batch)]))
        executed += float(model.flops(output.tokens_kept, output.exit_depth).sum())
        early += int((output.exit_depth < model.num_layers).sum())
    return executed / dense, early / len(examples)


def _batches(examples: Sequence[Encoded], size: int) -> list[Sequence[Encoded]]:
    return [examples[start : start + size] for start in range(0, len(examples), size)]


def _length(example: Encoded) -> int:
    return len(example["input_ids"])
