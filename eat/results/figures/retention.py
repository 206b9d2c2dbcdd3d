"""Final token retention against input length."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.results.figures.evidence import Evidence
from eat.results.figures.lengths import length_bins
from eat.results.figures.schedule import distinct_schedules, scheduled_retention
from eat.results.figures.style import LOOKS, SMALL, broken, first_few, printing
from eat.results.figures.suite import NothingToDrawError, Suite, usual
from eat.traces.replay import replay


@dataclasses.dataclass(frozen=True)
class Retention:
    """Tokens of the last executed block / tokens that came in, by bins of length, over examples and seeds."""

    lengths: Float[np.ndarray, " bins"]  # mean tokens that came in
    mean: Float[np.ndarray, " bins"]  # mean retention
    low: Float[np.ndarray, " bins"]  # 10th percentile of the examples
    high: Float[np.ndarray, " bins"]  # 90th percentile


def retention_by_length(runs: Sequence[Evidence], point: OperatingPoint | None = None) -> Retention:
    """Bin the final retention of an experiment's reported split; the point of each run's own report unless given."""
    lengths = np.concatenate([run.traces.reported.lengths for run in runs])
    kept = np.concatenate([replay(run.traces.reported, point or run.point).retention for run in runs])
    bins = length_bins(lengths)
    percentiles = np.array([np.percentile(kept[members], [10, 90]) for members in bins])
    mean_length, mean = (np.array([values[members].mean() for members in bins]) for values in (lengths, kept))
    return Retention(mean_length, mean, percentiles[:, 0], percentiles[:, 1])


def draw_retention(suite: Suite, path: Path) -> list[str]:
    """Draw retention against length: by pruning alone (full depth), and at each experiment's own operating point."""
    schedules = distinct_schedules(suite)
    if not schedules:
        raise NothingToDrawError("no run prunes tokens")
    pruning, notes = first_few("retention", schedules.items())
    leaving = [(label, runs) for label, runs in suite.experiments.items() if runs[0].prunes and runs[0].has_early_heads]
    leaving, more = first_few("retention", leaving)
    common = usual([runs[0].point.label for _, runs in leaving])
    with printing(path, 3.9, suite.subject) as figure:
        panels = figure.subplots(1, 2 if leaving else 1, sharey=True, sharex=True, squeeze=False)[0]
        for (label, run), look in zip(pruning, LOOKS, strict=False):
            _draw(panels[0], retention_by_length([run], FULL_DEPTH), label, look, band=False)
            limit = scheduled_retention(run.pruner, 1.0, run.num_layers - 1)
            panels[0].axhline(limit, color=look["color"], linewidth=0.8, linestyle=":")
        panels[0].set_title("full depth (dotted: schedule)")
        for (label, runs), look in zip(leaving, LOOKS, strict=False):
            point = runs[0].point.label
            name = label if point == common else f"{label}: {point}"
            _draw(panels[1], retention_by_length(runs), name, look, band=len(leaving) == 1)
        if leaving:
            bands = "\nband: 10 to 90 % of examples" if len(leaving) == 1 else ""
            panels[1].set_title(f"exits: {common}{bands}")
        names = [axes.get_legend_handles_labels()[1] for axes in panels]
        figure.set_figheight(3.2 + 0.13 * max(sum(name.count("\n") + 1 for name in each) for each in names))
        for axes in panels:
            axes.set(xlabel="tokens that came in", ylim=(0, 1.04))
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=SMALL)
        panels[0].set_ylabel("retention in the last executed block")
    return list(dict.fromkeys([*notes, *more]))


def _draw(axes: Axes, found: Retention, label: str, look: Mapping[str, Any], *, band: bool) -> None:
    axes.plot(found.lengths, found.mean, **look, markersize=3.5, linewidth=1.1, label=broken(label, 44))
    if band:
        axes.fill_between(found.lengths, found.low, found.high, color=look["color"], alpha=0.15, linewidth=0)
