"""Ablation: executed work and difference in quality of every experiment, at its own operating point."""

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from eat.evaluation.report.figures import BLUE, GREY, SKY
from eat.results.figures.evidence import Evidence
from eat.results.figures.style import broken, printing
from eat.results.figures.suite import NothingToDrawError, Suite, usual
from eat.tasks.metrics import METRICS
from eat.traces.quality import difference, predictions
from eat.traces.replay import replay
from eat.traces.statistics import seeds_difference_interval
from eat.traces.trace import Trace

Pair = tuple[Trace, Float[np.ndarray, "examples classes"], Float[np.ndarray, "examples classes"]]
"""A reported split, what a run answered, and what it is compared with."""


@dataclasses.dataclass(frozen=True)
class Bar:
    """One experiment, mean over its seeds."""

    name: str  # its label
    point: str  # the operating point
    compute: float  # executed FLOPs / the dense encoder's
    points: float  # difference of the primary metric, in hundredths
    low: float  # lower end of its 95 % interval
    high: float  # upper end


def ablation_bars(suite: Suite) -> tuple[list[Bar], list[str]]:
    """Return a bar for each experiment, and notes on those that have no seed in common with the dense one.

    Runs are paired with the dense run of the same seed; without a dense experiment, with what their own weights answer
    with everything off.
    """
    dense = {run.config.get("seed"): run for run in suite.experiments[suite.dense]} if suite.dense else None
    bars, notes = [], []
    for label, runs in suite.experiments.items():
        paired = [run for run in runs if dense is None or run.config.get("seed") in dense]
        if not paired:
            notes.append(f"ablation: {label} is left out, it has no seed in common with {suite.dense}")
            continue
        answers = [replay(run.traces.reported, run.point) for run in paired]
        pairs = [
            (run.traces.reported, answer.logits, _reference(run, dense[run.config.get("seed")] if dense else None))
            for run, answer in zip(paired, answers, strict=True)
        ]
        compute = [suite.compute(trace, a.flops(trace.costs)) for (trace, *_), a in zip(pairs, answers, strict=True)]
        point = paired[0].point.label if paired[0].has_early_heads else ""
        bars.append(Bar(label, point, statistics.mean(compute), *mean_difference(pairs)))
    return bars, notes


def mean_difference(pairs: Sequence[Pair]) -> tuple[float, float, float]:
    """Return the mean difference over seeds in points, with its 95 % interval, as tables have it.

    It is about other examples, and where there are several seeds about other seeds as well.
    """
    trace, ours, theirs = pairs[0]
    if len(pairs) == 1:
        one = difference(trace, ours, theirs)
        return one.points, one.low, one.high
    metric = METRICS[trace.task.metrics[0]].value

    def value(said: np.ndarray, truth: np.ndarray) -> float:
        return metric(said, truth, trace.task)

    said = np.stack([predictions(answers, trace.multi_label) for _, answers, _ in pairs])
    reference = np.stack([predictions(answers, trace.multi_label) for *_, answers in pairs])
    gains = [value(a, trace.labels) - value(b, trace.labels) for a, b in zip(said, reference, strict=True)]
    low, high = seeds_difference_interval(value, trace.labels, said, reference)
    return 100 * statistics.mean(gains), 100 * low, 100 * high


def draw_ablation(suite: Suite, path: Path) -> list[str]:
    """Draw for each experiment its executed work beside its difference to the dense one, with interval."""
    bars, notes = ablation_bars(suite)
    if not bars:
        raise NothingToDrawError(f"no run has a seed in common with {suite.dense}")
    places = np.arange(len(bars))
    points = [bar.point for bar in bars if bar.point]
    common = usual(points)
    unless = " where not said" if len(set(points)) > 1 else ""
    ticks = [_tick(bar, common) for bar in bars]
    lines = max(2, *(tick.count("\n") + 1 for tick in ticks))  # all bars are as far apart
    with printing(path, 1.3 + 0.12 * lines * len(bars), suite.subject) as figure:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.25))
        colours = [GREY if bar.name == suite.dense else SKY for bar in bars]
        left.barh(places, [bar.compute for bar in bars], color=colours, height=0.65)
        for place, bar in zip(places, bars, strict=True):
            left.annotate(
                f"{bar.compute:.2f}", (bar.compute, place), (2, 0), textcoords="offset points", va="center", size=7.5
            )
            right.plot([bar.low, bar.high], [place, place], "-", color=BLUE, linewidth=1.4)
        right.plot([bar.points for bar in bars], places, "o", color=BLUE, markersize=4.5)
        right.axvline(0, color=GREY, linewidth=0.8)
        left.set_yticks(places, ticks, fontsize=7.5)
        left.set_ylim(len(bars) - 0.5, -0.5)
        left.set_xlim(0, 1.18 * max(bar.compute for bar in bars))
        left.set_xlabel("FLOPs / dense encoder's")
        left.set_title(broken(f"early heads at {common}{unless}", 44) if common else "executed work", fontsize=8)
        right.set_xlabel(f"{suite.metric}, difference in points")
        right.set_title(broken(f"to {suite.dense or 'own weights, everything off'}, 95 % interval", 44), fontsize=8)
        for axes in (left, right):
            axes.grid(visible=False, axis="y")
            axes.set_axisbelow(True)
    return notes


def _tick(bar: Bar, common: str) -> str:
    name = broken(bar.name, 42)
    return name if bar.point in ("", common) else f"{name}\n{bar.point}"


def _reference(run: Evidence, dense: Evidence | None) -> Float[np.ndarray, "examples classes"]:
    traces = run.traces
    return (traces.all_off[traces.main] if dense is None else dense.traces.reported).full_depth
