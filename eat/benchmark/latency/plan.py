"""A budget in, an operating point out: the most accurate one that is predicted to be fast enough, then measured.

Everything is chosen on the threshold split: quality on the whole of it, time on texts drawn from it. The reported split
is read once the choice is made, for nothing but the chosen point's quality.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from eat.benchmark.clock import Call, num_threads, summarise, time_rounds, warm_up
from eat.benchmark.contenders import Encoded
from eat.benchmark.latency.candidates import Candidate, choose, predict_candidates
from eat.benchmark.latency.fit import Calibration, baseline_calls, build_probes, calibrate, operating_point_call
from eat.benchmark.latency.model import WorkCounter
from eat.benchmark.run import MIN_EXAMPLES, describe_machine
from eat.exits.points import OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.traces.quality import measure_point, predictions
from eat.traces.replay import replay
from eat.traces.trace import Trace

MIN_CALLS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """The budget, exactly one of the two, and how much is measured.

    Attributes:
        latency_ms: Longest mean time of a call (a batch), in ms.
        speedup: Smallest speed-up over Hugging Face SDPA on padded batches of the same size.
        batch_size: Texts in a call.
        threads: Threads inside operators; None for as many as torch uses now.
        examples: About so many texts are drawn.
        seconds: About so long may calibration and measurement take, each; a slow model is measured on fewer texts.
        rounds: How often everything is repeated.
        warmup: Untimed calls before.
        seed: Of the draw.
    """

    latency_ms: int | float | None = None
    speedup: int | float | None = None
    batch_size: int = 1
    threads: int | None = None
    examples: int = 256
    seconds: int | float = 30
    rounds: int = 5
    warmup: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: Naming the one that is out of range, or if there is not exactly one budget.
        """
        budgets = {"latency_ms": self.latency_ms, "speedup": self.speedup}
        given = {name: value for name, value in budgets.items() if value is not None}
        if len(given) != 1:
            got = " and ".join(f"plan.{name}={value}" for name, value in given.items()) or "neither"
            raise ValueError(f"plan: expected exactly one of plan.latency_ms and plan.speedup, got {got}")
        for name, value in (given | {"seconds": self.seconds}).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f"plan.{name}: expected a number above 0, got {value!r}")
        for name, least in (("batch_size", 1), ("threads", 1), ("examples", 1), ("rounds", 1), ("warmup", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not (isinstance(value, int) or (name == "threads" and value is None)):
                raise ValueError(f"plan.{name}: expected an integer, got {value!r}")
            if value is not None and value < least:
                raise ValueError(f"plan.{name}: expected {least} or more, got {value}")

    @property
    def budget(self) -> dict[str, int | float]:
        """The one budget that was given, by name."""
        return {"latency_ms": self.latency_ms} if self.latency_ms is not None else {"speedup": self.speedup or 0.0}


def make_plan(
    model: AdaptiveForSequenceClassification,
    held_out: Trace,
    reported: Trace,
    texts: Callable[[Sequence[int]], list[Encoded]],
    settings: PlanSettings,
) -> dict[str, Any]:
    """Calibrate, predict, choose, and measure what was chosen.

    Args:
        model: The trained model, on the device to plan for.
        held_out: Trace of the threshold split.
        reported: Trace of the split on which the chosen point's quality is reported.
        texts: Gives token ids for rows of the threshold split.
        settings: The budget, and how much is measured.

    Returns:
        What `plan.json` holds; JSON values only.

    Raises:
        ValueError: If the split holds too few texts for the batch size, or no operating point is fast enough.
    """
    threads = settings.threads or torch.get_num_threads()
    size = settings.batch_size
    rows = draw_rows(len(held_out), settings)
    examples = texts(rows.tolist())
    batches = [examples[start : start + size] for start in range(0, len(examples), size)]
    with num_threads(threads):
        calibration, calls = measure_costs(model, held_out, rows, batches, settings)
        rows, batches = rows[: calls * size], batches[:calls]
        candidates = predict_candidates(held_out, rows, calibration)
        chosen = choose(candidates, latency_ms=settings.latency_ms, speedup=settings.speedup)
        point = {chosen.exit.label: operating_point_call(model, chosen.exit)}
        measured, answers = measure_live(baseline_calls(model) | point, batches, settings)
    replayed = replay(held_out, chosen.exit).take(rows)
    return {
        "budget": settings.budget,
        "batch_size": size,
        "threads": threads,
        "texts": len(rows),
        "mean_length": float(held_out.lengths[rows].mean()),
        "machine": describe_machine(model),
        "exit": chosen.exit.spec,
        "predicted": predicted_values(chosen, calibration, size),
        "measured": measured,
        "metric": held_out.task.metrics[0],
        "quality": {trace.split: quality(trace, chosen.exit) for trace in (held_out, reported)},
        "agreement": [_equal_answers(answers, replayed.logits), len(rows)],
        "calibration": {"rounds": settings.rounds, **calibration.as_json()},
        "candidates": [
            {**vars(c), "exit": c.exit.spec, "value": None if math.isnan(c.value) else c.value} for c in candidates
        ],
    }


def measure_costs(
    model: AdaptiveForSequenceClassification,
    trace: Trace,
    rows: Int[np.ndarray, " texts"],
    batches: Sequence[Sequence[Encoded]],
    settings: PlanSettings,
) -> tuple[Calibration, int]:
    """Calibrate on as many batches as fit the time that the settings give.

    Args:
        model: The model; it is not changed.
        trace: Of the split that the texts are from.
        rows: The texts, in the order in which they are answered.
        batches: Their token ids.
        settings: How much is measured.

    Returns:
        What was measured, and on how many batches.
    """
    baselines = baseline_calls(model)
    probes = build_probes(model, trace, rows, settings.batch_size)
    calls = {**baselines, **{name: probe.call for name, probe in probes.items()}}
    turn_seconds = warm_up(calls, batches, settings.warmup)
    fitting = int(settings.seconds / (settings.rounds * turn_seconds))
    batches = batches[: max(fitting, MIN_CALLS, MIN_EXAMPLES // settings.batch_size)]
    counter = WorkCounter(model.config)
    return calibrate(baselines, probes, counter, batches, rounds=settings.rounds), len(batches)


def draw_rows(total: int, settings: PlanSettings) -> Int[np.ndarray, " drawn"]:
    """Draw the texts that calls are made of, in random order, as many in each call.

    Raises:
        ValueError: If there are not enough for one call.
    """
    size = settings.batch_size
    if total < size:
        raise ValueError(f"plan.batch_size: expected at most the {total} texts of the threshold split, got {size}")
    calls = max(1, min(total, max(settings.examples, MIN_CALLS * size)) // size)
    return np.random.default_rng(settings.seed).permutation(total)[: calls * size]


def measure_live(
    calls: Mapping[str, Call], batches: Sequence[Sequence[Encoded]], settings: PlanSettings
) -> tuple[dict[str, Any], Float[np.ndarray, "texts classes"]]:
    """Time baselines and the chosen point (the last of the calls) in turns, as the benchmark does.

    Returns:
        Its time, and its speed-up over each baseline with the interval; its answers.
    """
    *baselines, ours = calls
    warm_up(calls, batches, settings.warmup)
    size = settings.batch_size
    seconds = time_rounds(calls, dict.fromkeys(calls, batches), rounds=settings.rounds, block=max(1, 16 // size))
    timings = {name: summarise(seconds, len(batches) * size, name)[ours] for name in baselines}
    timing = timings[baselines[0]]
    with torch.inference_mode():
        answers = np.concatenate([calls[ours](batch) for batch in batches])
    return {
        "latency_ms": float(np.median(seconds[ours].mean(axis=1))) * 1e3,
        "latency_ms_p50": timing.latency_ms[0],
        "latency_ms_p95": timing.latency_ms[1],
        "examples_per_s": timing.examples_per_s,
        "speedup": {name: [t.speedup, t.speedup_low, t.speedup_high] for name, t in timings.items()},
    }, answers


def predicted_values(chosen: Candidate, calibration: Calibration, batch_size: int) -> dict[str, Any]:
    """Return what was predicted, with the keys of what is measured."""
    return {
        "latency_ms": chosen.latency_ms,
        "latency_ms_p50": chosen.latency_ms_p50,
        "latency_ms_p95": chosen.latency_ms_p95,
        "examples_per_s": 1e3 * batch_size / chosen.latency_ms,
        "speedup": {
            name: [ms / chosen.latency_ms, *(end / chosen.latency_ms for end in calibration.baseline_interval[name])]
            for name, ms in calibration.baseline_ms.items()
        },
    }


def quality(trace: Trace, point: OperatingPoint) -> dict[str, Any]:
    """Return the primary metric on a split with its interval, and what is lost to full depth, in points."""
    measured = measure_point(trace, point, trace.full_depth)
    value, delta = measured.metrics[trace.task.metrics[0]], measured.delta
    lost = None if delta is None else [delta.points, delta.low, delta.high]
    return {
        "value": None if math.isnan(value) else value,
        "interval": None if measured.interval is None else list(measured.interval),
        "points_to_full_depth": lost,
        "examples": len(trace),
    }


def _equal_answers(live: Float[np.ndarray, "texts classes"], replayed: Float[np.ndarray, "texts classes"]) -> int:
    """Count the live answers that equal the replayed ones; scores may differ by rounding."""
    ours, theirs = predictions(live), predictions(replayed)
    equal = np.isclose(ours, theirs, rtol=1e-3, atol=1e-3) if live.shape[1] == 1 else ours == theirs
    return int(equal.sum())
