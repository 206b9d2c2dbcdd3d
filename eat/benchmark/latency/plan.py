"""A budget in, an operating point out: the most accurate one that is predicted to be fast enough, then measured.

Everything is chosen on the threshold split: quality on the whole of it, time on texts drawn from it. The reported split
is read once the choice is made, for nothing but the chosen point's quality.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Int

from eat.benchmark.agreement import compare_with_all_off, count_equal, rounding_of, warn_of_others
from eat.benchmark.clock import clock_of, num_threads
from eat.benchmark.contenders import PADDED
from eat.benchmark.engines import Encoded
from eat.benchmark.latency.candidates import Candidate, choose, predict_candidates
from eat.benchmark.latency.fit import Fit, baseline_calls, build_probes, fit_probes, operating_point_call
from eat.benchmark.latency.model import WorkCounter
from eat.benchmark.latency.planned import Plan, Quality, Speed
from eat.benchmark.protocol import ENOUGH_BATCHES, Budget, Timed, batches_of, measure
from eat.benchmark.run import MIN_EXAMPLES, describe_machine
from eat.checks import number, shown, thread_count, whole_number
from eat.exits.points import OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.traces.quality import measure_point
from eat.traces.replay import replay
from eat.traces.trace import Trace


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """The budget, exactly one of the two, and how much is measured."""

    latency_ms: int | float | None = None  # longest mean time of a call (a batch), in ms
    speedup: int | float | None = None  # smallest speed-up over Hugging Face SDPA on padded batches of the same size
    batch_size: int = 1  # texts in a call
    threads: int | None = None  # threads inside operators; None for as many as torch uses now
    examples: int = 256  # about so many texts are drawn
    seconds: int | float = 30  # about so long for the prediction, and for measuring what was chosen; slow models get
    # fewer rounds (3 at least), then fewer texts (8 calls at least)
    rounds: int = 5  # how often everything is repeated
    warmup: int = 10  # untimed calls before
    seed: int = 0  # of the draw

    def __post_init__(self) -> None:
        """Refuse a number out of range, and anything but one budget."""
        budgets = {"latency_ms": self.latency_ms, "speedup": self.speedup}
        given = {name: value for name, value in budgets.items() if value is not None}
        if len(given) != 1:
            got = " and ".join(f"plan.{name}={shown(value)}" for name, value in given.items()) or "neither"
            raise ValueError(f"plan: expected exactly one of plan.latency_ms and plan.speedup, got {got}")
        for name, value in (given | {"seconds": self.seconds}).items():
            number(f"plan.{name}", value, above=0)
        for name in ("batch_size", "examples", "rounds", "warmup"):
            whole_number(f"plan.{name}", getattr(self, name))
        if self.threads is not None:
            thread_count("plan.threads", self.threads)
        whole_number("plan.seed", self.seed, at_least=0)

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
) -> Plan:
    """Measure, predict, choose on the threshold split (``held_out``), and measure what was chosen.

    ``texts`` gives token ids for rows of that split. The model is on the device to plan for.

    Raises:
        ValueError: If the split holds too few texts for the batch size, or no operating point is fast enough.
    """
    threads = settings.threads or torch.get_num_threads()
    size = settings.batch_size
    rows = draw_rows(len(held_out), settings)
    examples = texts(rows.tolist())
    clock, counter = clock_of(next(model.parameters()).device), WorkCounter(model.config)
    baselines = baseline_calls(model)
    with num_threads(threads):
        probes = build_probes(model, held_out, rows, size)
        calls = baselines | {name: probe.call for name, probe in probes.items()}
        least = max(ENOUGH_BATCHES, MIN_EXAMPLES // size)
        budget = Budget(seconds=settings.seconds, rounds=settings.rounds, warmup=settings.warmup, min_batches=least)
        timed = measure(calls, examples, size, budget, clock=clock)
        fit = fit_probes(timed, probes, counter, size)
        rows, examples = rows[: timed.examples], examples[: timed.examples]
        latency = fit.latency(counter, size)
        candidates = predict_candidates(held_out, rows, latency, fit.baseline_ms[PADDED])
        chosen = choose(candidates, latency_ms=settings.latency_ms, speedup=settings.speedup)
        ours = operating_point_call(model, chosen.exit)
        budget = dataclasses.replace(budget, min_batches=len(batches_of(examples, size)))
        live = measure(baselines | {chosen.exit.label: ours}, examples, size, budget, clock=clock)
    machine = describe_machine(model)
    by_baseline = {name: live.logits(name) for name in baselines}
    warn_of_others(compare_with_all_off(by_baseline, rounding_of(machine), held_out.multi_label))
    replayed = replay(held_out, chosen.exit).take(rows)
    return Plan(
        budget=settings.budget,
        batch_size=size,
        threads=threads,
        texts=len(rows),
        mean_length=float(held_out.lengths[rows].mean()),
        machine=machine,
        exit=chosen.exit,
        predicted=_predicted(chosen, fit, size),
        measured=_measured(live, chosen.exit.label),
        metric=held_out.task.metrics[0],
        quality={trace.split: _quality(trace, chosen.exit) for trace in (held_out, reported)},
        agreement=(count_equal(live.logits(chosen.exit.label), replayed.logits, held_out.multi_label), len(rows)),
        fit=fit,
        candidates=candidates,
    )


def draw_rows(total: int, settings: PlanSettings) -> Int[np.ndarray, " drawn"]:
    """Draw the texts that calls are made of, in random order, as many in each call."""
    size = settings.batch_size
    if total < size:
        raise ValueError(f"plan.batch_size: expected at most the {total} texts of the threshold split, got {size}")
    calls = max(1, min(total, max(settings.examples, ENOUGH_BATCHES * size)) // size)
    return np.random.default_rng(settings.seed).permutation(total)[: calls * size]


def _measured(live: Timed, ours: str) -> Speed:
    """Return the time of the chosen point and its speed-up over each baseline."""
    timings = {name: live.over(name)[ours] for name in live.seconds if name != ours}
    timing = next(iter(timings.values()))
    return Speed(
        latency_ms=float(np.median(live.seconds[ours].mean(axis=1))) * 1e3,
        latency_ms_p50=timing.latency_ms[0],
        latency_ms_p95=timing.latency_ms[1],
        examples_per_s=timing.examples_per_s,
        speedup={name: t.speedup for name, t in timings.items()},
    )


def _predicted(chosen: Candidate, fit: Fit, batch_size: int) -> Speed:
    ms = chosen.latency_ms
    intervals = fit.baseline_interval
    return Speed(
        latency_ms=ms,
        latency_ms_p50=chosen.latency_ms_p50,
        latency_ms_p95=chosen.latency_ms_p95,
        examples_per_s=1e3 * batch_size / ms,
        speedup={
            name: (whole / ms, intervals[name][0] / ms, intervals[name][1] / ms)
            for name, whole in fit.baseline_ms.items()
        },
    )


def _quality(trace: Trace, point: OperatingPoint) -> Quality:
    measured = measure_point(trace, point, trace.full_depth)
    value, delta = measured.metrics[trace.task.metrics[0]], measured.delta
    return Quality(
        value=None if math.isnan(value) else value,
        interval=measured.interval,
        points_to_full_depth=None if delta is None else (delta.points, delta.low, delta.high),
        examples=len(trace),
    )
