"""Reliability diagrams: how often each head is right against how sure it is."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
import torch
from matplotlib.axes import Axes

from eat.evaluation.report.figures import BLUE, GREY, RED
from eat.ops.calibration import Reliability, expected_calibration_error, reliability
from eat.ops.confidence import max_probability
from eat.results.figures.style import SMALL, WIDTH, first_few, printing
from eat.results.figures.suite import NothingToDrawError, Suite
from eat.traces.quality import predictions
from eat.traces.trace import Trace

NUM_BINS = 15
"""As EAT has it."""
COLUMNS = 5
MOST = 4
"""Experiments in a figure: each has a panel for every head."""


def pooled_reliability(traces: Sequence[Trace], head: int) -> tuple[float, Reliability]:
    """Return the expected calibration error of a head, and its bins, over the examples of all seeds together."""
    asked = [trace.questions(trace.all_logits[:, head]) for trace in traces]
    confidence = torch.cat([max_probability(torch.from_numpy(logits)) for logits, _ in asked])
    correct = torch.from_numpy(np.concatenate([predictions(logits) == answers for logits, answers in asked]))
    return expected_calibration_error(confidence, correct, NUM_BINS), reliability(confidence, correct, NUM_BINS)


def draw_reliability(suite: Suite, path: Path) -> list[str]:
    """Draw a panel for each head of each experiment, before and after temperatures where it has them."""
    if suite.first.is_regression:
        raise NothingToDrawError(f"{suite.first.task.name} is a regression: no class probabilities")
    shown, notes = first_few("reliability", suite.experiments.items(), MOST)
    heads = [(label, runs, head) for label, runs in shown for head in range(len(runs[0].traces.reported.head_depths))]
    columns = min(COLUMNS, len(heads))
    lines = -(-len(heads) // columns)
    side = (WIDTH - 0.6) / columns - 0.25  # of a panel, which is square
    titles = [
        "\n".join([*wrap(label.replace("_", " "), 20), f"head {runs[0].traces.reported.head_depths[head]}"])
        for label, runs, head in heads
    ]
    longest = max(title.count("\n") for title in titles)
    with printing(path, 1.1 + (side + 0.2 + 0.12 * longest) * lines, suite.subject) as figure:
        grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for axes, (_, runs, head), title in zip(grid.flat, heads, titles, strict=False):
            raw = [run.traces.reported.raw for run in runs]
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
            _draw(axes, *pooled_reliability(raw, head), RED, "s", "raw", 0.17)
            if any(run.temperatures and run.temperatures[head] != 1 for run in runs):
                after = [trace.divided(run.temperatures) for trace, run in zip(raw, runs, strict=True)]
                _draw(axes, *pooled_reliability(after, head), BLUE, "o", "calibrated", 0.05)
            axes.set_title(title, fontsize=SMALL, pad=3)
            axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
            axes.set_box_aspect(1)
        for axes in grid.flat[len(heads) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("accuracy")
        for axes in grid.flat[max(0, len(heads) - COLUMNS) : len(heads)]:  # the lowest of each column
            axes.set_xlabel("confidence")
            axes.tick_params(labelbottom=True)
        for colour, mark, name in ((RED, "s", "raw"), (BLUE, "o", "calibrated: temperatures of the threshold split")):
            grid[0][0].plot([], [], mark, color=colour, markersize=4, label=f"{name} (ECE, {NUM_BINS} bins)")
        figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=SMALL)
    return notes


def _draw(axes: Axes, error: float, bins: Reliability, colour: str, mark: str, name: str, place: float) -> None:
    there = bins.counts.numpy() > 0
    points = bins.confidence.numpy()[there], bins.accuracy.numpy()[there]
    axes.plot(*points, "-", color=colour, linewidth=0.7, alpha=0.6)
    sizes = 4 + 30 * bins.counts.numpy()[there] / bins.counts.max().item()
    axes.scatter(*points, s=sizes, color=colour, marker=mark, alpha=0.8, linewidth=0, clip_on=False)
    axes.text(0.97, place, f"{name} {100 * error:.1f} %", fontsize=6.5, ha="right", color=colour)
