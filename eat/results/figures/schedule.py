"""Token retention as the pruning schedule has it, against what was observed: over training, and by depth."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from eat.results.figures.evidence import Evidence
from eat.results.figures.style import LOOKS, first_few, legend_below, printing
from eat.results.figures.suite import NothingToDrawError, Suite

BINS = 20
"""Points along a training: retention is logged for single batches, whose lengths differ."""


@dataclasses.dataclass(frozen=True)
class Training:
    """Retention over a training, in `BINS` or fewer equal parts of the logged steps."""

    steps: Float[np.ndarray, " bins"]  # mean optimiser step
    scheduled: Float[np.ndarray, " bins"]  # of the ratio at that step
    observed: Float[np.ndarray, " bins"]  # mean over the batches


def scheduled_retention(pruner: Mapping[str, Any], scale: float, depth: int) -> float:
    """Return the part of its tokens that a long sequence keeps until after a depth: prod (1 - scale * ratio).

    Short ones keep more: [CLS] stays, and of a fraction of a token the whole one does.
    """
    ratios = pruner["ratio"]
    every = [ratios] * len(pruner["depths"]) if isinstance(ratios, int | float) else ratios
    kept = [1 - scale * ratio for at, ratio in zip(pruner["depths"], every, strict=True) if at <= depth]
    return max(float(np.prod(kept)), float(pruner.get("min_retention") or 0.0))


def over_training(run: Evidence) -> Training | None:
    """Return retention in the last block over a run's training; None where metrics.csv has none."""
    needed = ("step", "train/pruning_scale", "train/retention")
    logged = np.array([[row[n] for n in needed] for row in run.metrics if all(n in row for n in needed)])
    if len(logged) == 0:
        return None
    last = run.num_layers - 1
    expected = np.array([scheduled_retention(run.pruner, scale, last) for scale in logged[:, 1]])
    parts = np.array_split(np.arange(len(logged)), min(BINS, len(logged)))
    steps, observed = logged[:, 0], logged[:, 2]
    return Training(*(np.array([values[part].mean() for part in parts]) for values in (steps, expected, observed)))


def by_depth(run: Evidence) -> tuple[Float[np.ndarray, " blocks"], Float[np.ndarray, " blocks"]]:
    """Return (scheduled, observed): tokens that each block reads / tokens that came in, where all reach full depth."""
    kept = run.traces.reported.tokens_kept
    observed = (kept[:, :-1] / kept[:, :1]).mean(axis=0)
    scheduled = np.array([scheduled_retention(run.pruner, 1.0, depth) for depth in range(run.num_layers)])
    return scheduled, observed


def draw_schedule(suite: Suite, path: Path) -> list[str]:
    """Draw scheduled (lines) and observed retention (marks) of each pruning schedule, over training and by depth."""
    schedules = distinct_schedules(suite)
    if not schedules:
        raise NothingToDrawError("no run prunes tokens")
    shown, notes = first_few("schedule", schedules.items())
    trainings = {label: over_training(run) for label, run in shown}
    both = any(trainings.values())
    with printing(path, 3.0 if both else 3.4, suite.subject) as figure:
        panels = figure.subplots(1, 2 if both else 1, sharey=True, squeeze=False)[0]
        left, right = panels[0], panels[-1]
        for (label, run), look in zip(shown, LOOKS, strict=False):
            line = {"color": look["color"], "linestyle": look["linestyle"], "linewidth": 1.1}
            mark = {"color": look["color"], "marker": look["marker"], "linestyle": "none", "markersize": 3.5}
            training = trainings[label]
            if training is None:
                notes.append(f"schedule: {run.name} has no retention in metrics.csv; its training is left out")
            else:
                left.plot(training.steps, training.scheduled, **line)
                left.plot(training.steps, training.observed, **mark)
            scheduled, observed = by_depth(run)
            blocks = np.arange(1, len(observed) + 1)
            right.step(blocks, scheduled, where="mid", **line)
            right.plot(blocks, observed, **mark)
            right.plot([], [], **(look | {"markersize": 3.5, "linewidth": 1.1}), label=label)
        left.set(ylabel="retention (kept / in)", ylim=(0, 1.04))
        if both:
            left.set_xlabel("optimiser step")
            left.set_title("last block, training batches")
        left.plot([], [], "k-", label="scheduled")
        left.plot([], [], "ko", markersize=3.5, label="observed, mean")
        if both:
            left.legend(loc="lower left")
        right.set(xlabel="block", xticks=range(1, max(run.num_layers for _, run in shown) + 1))
        right.set_title(f"by depth, {suite.first.split}")
        legend_below(figure, *right.get_legend_handles_labels())
    return notes


def distinct_schedules(suite: Suite) -> dict[str, Evidence]:
    """Return a run for each way of pruning and annealing, named by the experiments that share it.

    How many tokens stay follows from lengths, ratio and step alone, not from the weights or which tokens they are.
    """
    found: dict[str, tuple[Evidence, list[str]]] = {}
    for label, (run, *_) in suite.experiments.items():
        if run.prunes:
            counts = {key: value for key, value in run.pruner.items() if key != "name"}
            key = repr((sorted(counts.items()), run.config.get("schedule"), run.num_layers))
            found.setdefault(key, (run, []))[1].append(label)
    return {_joined(labels, run): run for run, labels in found.values()}


def _joined(labels: Sequence[str], run: Evidence, most: int = 1) -> str:
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    ratio = run.pruner["ratio"]
    return f"{', '.join(labels[:most])}{more}: ratio {ratio} after {', '.join(map(str, run.pruner['depths']))}"
