"""All contenders over the same examples: times at one batch size, and peak memory."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from eat.benchmark.calls import Encoded
from eat.benchmark.clock import Call, Timing, clock_of, summarise, time_rounds, warm_up
from eat.benchmark.contenders import ALL_OFF, PADDED, Contender
from eat.benchmark.memory import measure_peak
from eat.benchmark.settings import MIN_EXAMPLES, BenchmarkSettings
from eat.benchmark.tokenizing import Texts

log = logging.getLogger(__name__)

BASELINES = (PADDED, ALL_OFF)
TOKENIZER = "tokenizer"

Seconds = Mapping[str, Float[np.ndarray, "rounds batches"]]


def measure_times(
    contenders: Sequence[Contender],
    examples: Sequence[Encoded],
    texts: Texts | None,
    batch_size: int,
    settings: BenchmarkSettings,
    device: torch.device,
) -> list[dict[str, Any]]:
    """Time all contenders at one batch size, with as many threads as torch has now.

    Grouping by length changes nothing at batch size 1 and is left out there. Tokenising the same texts takes its turns
    as if it were a contender.

    Args:
        contenders: Who answers.
        examples: Token ids, in random order; a slow model gets the first of them only.
        texts: Their texts, or None.
        batch_size: Examples of a call.
        settings: How much is measured.
        device: Where the models are.
    """
    running = {c.name: c for c in contenders if batch_size > 1 or not c.grouped}
    calls: dict[str, Call] = {name: c.call for name, c in running.items()}
    clock = clock_of(device)
    all_batches = batches_of(examples, batch_size)
    round_seconds = warm_up(calls, all_batches, settings.warmup, clock) * len(all_batches)
    if round_seconds * settings.rounds > settings.seconds:
        fitting = int(len(examples) * settings.seconds / (round_seconds * settings.rounds))
        examples = examples[: max(MIN_EXAMPLES, fitting // batch_size * batch_size)]
    batches: dict[str, Sequence[Any]] = {
        name: batches_of(by_length(examples) if c.grouped else examples, batch_size) for name, c in running.items()
    }
    if texts is not None:
        calls[TOKENIZER] = texts.call
        batches[TOKENIZER] = batches_of(texts.rows[: len(examples)], batch_size)
        warm_up({TOKENIZER: texts.call}, batches[TOKENIZER], settings.warmup, clock)
    seconds = time_rounds(calls, batches, rounds=settings.rounds, block=max(1, 16 // batch_size), clock=clock)
    tokenising = seconds.pop(TOKENIZER, None)
    measured = _measurements(running, seconds, len(examples), tokenising)
    return [one | {"batch_size": batch_size, "threads": torch.get_num_threads()} for one in measured]


def measure_memory(
    contenders: Sequence[Contender], examples: Sequence[Encoded], threads: int, settings: BenchmarkSettings
) -> dict[str, Any]:
    """Measure each contender's peak memory over the largest batches, in a process of its own.

    Raises:
        RuntimeError: If such a process fails.
    """
    batch_size = max(settings.batch_sizes)
    peaks = {}
    for contender in contenders:
        if contender.saved is None:
            continue
        log.info("benchmark: peak memory of %s", contender.name)
        inputs = by_length(examples) if contender.grouped else examples
        peak = measure_peak(contender.name, contender.saved, batches_of(inputs, batch_size), threads=threads)
        peaks[contender.name] = dataclasses.asdict(peak)
    return {"batch_size": batch_size, "examples": len(examples), "threads": threads, "peaks": peaks}


def batches_of(examples: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Cut examples into batches, in order; the last may be smaller."""
    return [examples[start : start + size] for start in range(0, len(examples), size)]


def by_length(examples: Sequence[Encoded]) -> list[Encoded]:
    """Sort examples by their number of tokens."""
    return sorted(examples, key=lambda example: len(example["input_ids"]))


def _measurements(
    running: Mapping[str, Contender],
    seconds: Seconds,
    examples: int,
    tokenising: Float[np.ndarray, "rounds batches"] | None,
) -> list[dict[str, Any]]:
    """Turn times into one record per contender."""
    versus = {baseline: summarise(seconds, examples, baseline) for baseline in BASELINES}
    records = {
        name: {
            "contender": name,
            "engine": contender.engine,
            "exit": None if contender.exit is None else contender.exit.spec,
            "examples": examples,
            "latency_ms": list(versus[PADDED][name].latency_ms),
            "examples_per_s": versus[PADDED][name].examples_per_s,
            "speedup": {baseline: _interval(timings[name]) for baseline, timings in versus.items()},
        }
        for name, contender in running.items()
    }
    if tokenising is not None:
        # Ratios are of whole rounds, so that it does not matter which call a batch's tokenising is added to.
        whole = {name: times + tokenising for name, times in seconds.items()}
        again = {baseline: summarise(whole, examples, baseline) for baseline in BASELINES}
        milliseconds = float(np.median(tokenising) * 1e3)
        for name, record in records.items():
            record["tokenising_ms"] = milliseconds
            record["speedup_tokenised"] = {baseline: _interval(timings[name]) for baseline, timings in again.items()}
    return list(records.values())


def _interval(timing: Timing) -> list[float]:
    return [timing.speedup, timing.speedup_low, timing.speedup_high]
