"""Exits of several runs compared: exits.md, exits.csv and exits.png."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from eat.evaluation.between_runs.exits import ALL, CONFIDENCE, DROPS, ExitLine, ExitTable, exit_rows
from eat.evaluation.report.console import points_text
from eat.evaluation.report.figures import drawing
from eat.evaluation.report.table import number, render, write_rows
from eat.files import write_text
from eat.traces.grid import measure_grid
from eat.traces.quality import Point
from eat.traces.sweeps import criterion_points, score_quantiles

SHOWN = "confidence"
"""The criterion of the figure, which compares runs; exits of one run are compared in its own criteria.png."""
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6D31", "#666666")


def write_exits(tables: Sequence[ExitTable], names: Mapping[str, str], out: Path) -> None:
    """Write the comparison into a folder, each file whole or not at all; ``names`` are those of the runs."""
    write_rows(out / "exits.csv", exit_rows(tables))
    _draw(tables, names, out / "exits.png")
    write_text(out / "exits.md", exits_markdown(tables, names))


def exits_markdown(tables: Sequence[ExitTable], names: Mapping[str, str]) -> str:
    """Lay out a line per run at the best of all criteria, then every criterion."""
    splits = dict.fromkeys(_split(table) for table in tables)
    layers = dict.fromkeys(table.reported.num_layers for table in tables)
    half = ", ".join(f"{number / 2:g} of {number}" for number in layers)
    drops = ", ".join(f"{100 * drop:g}" for drop in DROPS)
    return f"""# Exits compared

All figures but one column are those of a split that chose nothing: {"; ".join(splits)}. Points lost are to the same \
run's full depth, with a paired bootstrap 95 % interval. Half depth: the deepest threshold whose mean depth, and one \
standard error of it, is within {half} layers on the threshold split. Certified: an accuracy gap to full depth of at \
most {drops} points at {CONFIDENCE:.0%} confidence, by Learn-then-Test on the certification split, criterion and \
order from the threshold split (Pareto Testing); in brackets the points lost here; a dash where nothing but full \
depth passes. FLOPs are executed work over dense, unpadded full depth. With two classes confidence, entropy and \
margin rank examples alike and differ only in which thresholds are tried.

To choose among runs and criteria use the column of the threshold split, which is there for that. Each certificate \
holds by itself at its confidence; to pick one of them because it passed, or one run because it looks best here, is \
not covered.

## Each run, at the best of all criteria

{_run_table(tables, names)}

![exits.png](exits.png)

## Every criterion

{_criterion_table(tables, names)}
"""


def _split(table: ExitTable) -> str:
    trace = table.reported
    return f"{trace.task.name} {trace.split} ({len(trace):,} examples; {trace.metadata['data']})"


def _run_table(tables: Sequence[ExitTable], names: Mapping[str, str]) -> str:
    headers = ["run", "full depth", "to dense [95 %]", "exit at half depth", "threshold split", *_headers()]
    lines = []
    for table in tables:
        full = next(iter(table.full_depth.metrics.values()))
        line = next(line for line in table.lines if line.criterion == ALL)
        own = [names[table.run.name], number(full, 4), points_text(table.full_depth.delta_dense), _chosen(line)]
        lines.append([*own, number(line.held_out, 4), *_cells(line)])
    return render(headers, lines, markdown=True)


def _criterion_table(tables: Sequence[ExitTable], names: Mapping[str, str]) -> str:
    lines = [
        [names[table.run.name], line.criterion, _chosen(line), *_cells(line)]
        for table in tables
        for line in table.lines
        if line.criterion != ALL
    ]
    return render(["run", "criterion", "exit at half depth", *_headers()], lines, markdown=True)


def _chosen(line: ExitLine) -> str:
    return "-" if line.chosen is None else line.chosen.exit.label


def _headers() -> list[str]:
    certified = [f"FLOPs, certified {100 * drop:g}" for drop in DROPS]
    return ["points lost [95 %]", "depth", "FLOPs", *certified]


def _cells(line: ExitLine) -> list[str]:
    chosen = ["-"] * 3
    if line.chosen is not None:
        chosen = [points_text(line.chosen.delta), number(line.chosen.avg_depth, 2), number(line.chosen.flops_ratio)]
    return [*chosen, *map(_certified, line.certified)]


def _certified(point: Point | None) -> str:
    if point is None:
        return "-"
    return number(point.flops_ratio) + ("" if point.delta is None else f" ({point.delta.points:+.2f})")


def _draw(tables: Sequence[ExitTable], names: Mapping[str, str], path: Path) -> None:
    """Draw what each run loses to its own full depth, over the thresholds of one criterion; a panel per pooling."""
    panels: dict[str, list[ExitTable]] = defaultdict(list)
    for table in tables:
        panels[table.reported.config["heads"]["pooling"]].append(table)
    with drawing(path, 4.6 * len(panels) + 2.4, 4.2) as figure:
        axes_of = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (pooling, shown) in zip(axes_of, panels.items(), strict=True):
            for table, colour in zip(shown, COLOURS * len(shown), strict=False):
                points = tuple(criterion_points(SHOWN, table.reported, score_quantiles(table.reported)))
                if not points:
                    continue
                grid = measure_grid(table.reported, points)
                full = next(iter(table.full_depth.metrics.values()))
                order = np.argsort(grid.avg_depth)
                lost = 100 * (grid.values[order] - full)
                name = names[table.run.name].replace(f"head_pooling {pooling}, ", "")
                axes.plot(grid.avg_depth[order], lost, color=colour, linewidth=1.2, label=f"{name} ({full:.3f})")
            axes.axhline(0, color="#666666", linewidth=0.8, linestyle="--")
            axes.set(xlabel=f"average depth, exit by {SHOWN}", title=f"heads on {pooling}")
            axes.legend(fontsize=7.5, loc="lower right", title="run (full depth)", title_fontsize=7.5)
        axes_of[0].set_ylabel("points to own full depth, " + ", ".join(dict.fromkeys(t.reported.split for t in tables)))
