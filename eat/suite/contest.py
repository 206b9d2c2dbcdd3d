"""One contest: contenders on the same batches, within a budget of seconds, as rows."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from eat.benchmark.clock import clock_of, num_threads
from eat.benchmark.contenders import ALL_OFF, Contender
from eat.benchmark.engines import Encoded
from eat.benchmark.protocol import Budget, Timed, batches_of, measure
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.cost import CostModel
from eat.suite.records import Row


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contest:
    """What is compared on what."""

    inputs: str  # where the lengths come from, for the column of that name
    batch_size: int  # examples in a call
    examples: Sequence[Encoded]  # in random order; a slow contest uses the first ones only
    entrants: Sequence[Contender]  # what takes part; ours with everything off among them, which work is counted against
    baselines: Sequence[str]  # names of the contenders that all are divided by, one row each
    min_batches: int = 1  # so many batches are timed, however slow they are
    length: int | None = None  # tokens of each example where all are as long


def budget_of(seconds: int | float, rounds: int, warmup: int) -> Budget:
    """Return the suite's budget: at least one warm-up call, so that it is known how much there is time for."""
    return Budget(seconds=seconds, rounds=rounds, warmup=max(1, warmup))


def hold(contest: Contest, budget: Budget, threads: int, device: torch.device) -> list[Row]:
    """Measure a contest: a row for each baseline and contender, without the columns that the suite adds to all."""
    with num_threads(threads):
        timed = measure(
            {e.name: e.call for e in contest.entrants},
            contest.examples,
            contest.batch_size,
            dataclasses.replace(budget, min_batches=contest.min_batches),
            clock=clock_of(device),
            grouped={e.name for e in contest.entrants if e.grouped},
        )
    return list(_rows(contest, timed, threads))


def timed_row(timed: Timed, baseline: str, name: str, tokens: float) -> Row:
    """Return the columns of one contender's times."""
    timing = timed.over(baseline)[name]
    speedup, low, high = timing.speedup
    return {
        "contender": name,
        "examples": timed.examples,
        "rounds": timed.rounds,
        "warmup": timed.warmup,
        "examples_per_s": timing.examples_per_s,
        "tokens_per_s": timing.examples_per_s * tokens,
        "baseline": baseline,
        "speedup": speedup,
        "speedup_low": low,
        "speedup_high": high,
    }


def _rows(contest: Contest, timed: Timed, threads: int) -> Iterator[Row]:
    """Set times beside executed work."""
    examples = contest.examples[: timed.examples]
    lengths = np.array([len(example["input_ids"]) for example in examples])
    models = {e.name: e.model for e in contest.entrants if e.model is not None}
    dense = float(CostModel(models[ALL_OFF].config).dense(lengths).sum())
    work = {name: executed_work(model, examples, dense, contest.batch_size) for name, model in models.items()}
    for baseline in contest.baselines:
        for entrant in contest.entrants:
            ratio, early = work.get(entrant.name, (None, None))
            row = timed_row(timed, baseline, entrant.name, float(lengths.mean()))
            p50, p95, p99 = timed.over(baseline)[entrant.name].latency_ms
            yield row | {
                "inputs": contest.inputs,
                "length": contest.length,
                "batch_size": contest.batch_size,
                "threads": threads,
                "engine": entrant.engine,
                "latency_ms_p50": p50,
                "latency_ms_p95": p95,
                "latency_ms_p99": p99,
                "flops_ratio": ratio,
                "left_early": early,
                "efficiency": row["speedup"] * ratio if ratio is not None and baseline == ALL_OFF else None,
            }


def executed_work(
    model: AdaptiveForSequenceClassification, examples: Sequence[Encoded], dense: float, batch_size: int
) -> tuple[float, float]:
    """Return the FLOPs executed over dense ones, and the share of examples that left early.

    A model without pruning and exits is not run for this: its work follows from the lengths.
    """
    if not (model.pruner.depths or model.exit_criterion.active):
        lengths = np.array([len(example["input_ids"]) for example in examples])
        kept = np.repeat(lengths[:, None], model.num_layers + 1, axis=1)
        depth = np.full(len(lengths), model.num_layers)
        return float(CostModel(model.config).executed(kept, depth, early_heads=False).sum()) / dense, 0.0
    executed, early = 0.0, 0
    for batch in batches_of(examples, batch_size):
        ids = torch.tensor([token for example in batch for token in example["input_ids"]], device=model.device)
        with torch.inference_mode():
            output = model(ids, lengths=torch.tensor([len(example["input_ids"]) for example in batch]))
        executed += float(model.flops(output.tokens_kept, output.exit_depth).sum())
        early += int((output.exit_depth < model.num_layers).sum())
    return executed / dense, early / len(examples)
