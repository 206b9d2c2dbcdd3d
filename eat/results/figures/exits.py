"""Distribution of exits: how many examples leave at each depth, for every threshold, replayed from traces."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from eat.exits.points import OperatingPoint, threshold_text
from eat.results.figures.evidence import Evidence
from eat.results.figures.style import SMALL, broken, first_few, printing, shades
from eat.results.figures.suite import NothingToDrawError, Suite, shown_points
from eat.traces.replay import replay


def exit_shares(runs: Sequence[Evidence], points: Sequence[OperatingPoint]) -> Float[np.ndarray, "points depths"]:
    """Return the share of examples that leave at each head's depth, at each point; mean over the runs."""
    depths = np.array(runs[0].traces.reported.head_depths)
    shares = [
        [(replay(run.traces.reported, point).exit_depth[:, None] == depths).mean(axis=0) for point in points]
        for run in runs
    ]
    return np.mean(shares, axis=0)


def draw_exits(suite: Suite, path: Path) -> list[str]:
    """Draw a panel for each experiment with early heads: bars by threshold, stacked by depth."""
    early = {label: runs for label, runs in suite.experiments.items() if runs[0].has_early_heads}
    if not early:
        raise NothingToDrawError("no run has early heads; train with head_depths")
    shown, notes = first_few("exits", early.items())
    columns = min(2, len(shown))
    lines = -(-len(shown) // columns)
    depths = sorted({depth for _, runs in shown for depth in runs[0].traces.reported.head_depths})
    colours = dict(zip(depths, shades(len(depths)), strict=True))
    with printing(path, 0.9 + 2.3 * lines, suite.subject) as figure:
        grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
        for axes, (label, runs) in zip(grid.flat, shown, strict=False):
            points = shown_points(runs[0])
            shares = exit_shares(runs, points)
            bottom = np.zeros(len(points))
            for depth, share in zip(runs[0].traces.reported.head_depths, shares.T, strict=True):
                axes.bar(range(len(points)), share, bottom=bottom, color=colours[depth], width=0.86)
                bottom += share
            mean_depth = shares @ np.array(runs[0].traces.reported.head_depths)
            for place, depth in enumerate(mean_depth):
                axes.text(place, 1.01, f"{depth:.1f}", ha="center", va="bottom", fontsize=6.5)
            axes.set_xticks(range(len(points)), [_short(point) for point in points], rotation=60, fontsize=7)
            axes.set_title(broken(label, 48), pad=12, fontsize=8 if len(label) > 48 else None)
            axes.set(xlabel=f"{runs[0].point.name}, {_argument(points)}", ylim=(0, 1))
            axes.grid(visible=False)
        for axes in grid.flat[len(shown) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("share of examples")
        for depth in depths:
            grid.flat[0].bar(0, 0, color=colours[depth], label=f"leave at depth {depth}")
        entries = grid.flat[0].get_legend_handles_labels()
        title = "numbers above bars: mean exit depth"
        figure.legend(*entries, loc="outside lower center", ncols=5, fontsize=SMALL, title=title, title_fontsize=SMALL)
    return notes


def _short(point: OperatingPoint) -> str:
    if point.threshold is not None:
        return threshold_text(point.threshold)
    return str(point.patience) if point.patience is not None else point.name


def _argument(points: Sequence[OperatingPoint]) -> str:
    return "threshold" if points[0].threshold is not None else "patience"
