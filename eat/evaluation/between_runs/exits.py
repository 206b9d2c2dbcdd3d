"""What early exits are worth in several runs: for each criterion one chosen point, and what can be certified of it.

`make_exit_tables` chooses and certifies; `write_exits` lays out exits.md, exits.csv and exits.png.
"""

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eat.evaluation.certify.certificate import make_certificate
from eat.evaluation.certify.settings import CertifySettings
from eat.evaluation.criteria import early_exit_points
from eat.evaluation.report.figures import GREY, beside_legend, drawing, run_looks
from eat.evaluation.report.rows import point_row
from eat.evaluation.report.table import number, points_text, render, write_rows
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.files import write_text
from eat.runs.finished import FinishedRun
from eat.traces.grid import exit_heads, measure_grid
from eat.traces.quality import Point, measure_point
from eat.traces.run_traces import RunTraces, read_traces
from eat.traces.sweeps import criterion_points, score_quantiles
from eat.traces.trace import Trace

log = logging.getLogger(__name__)

DROPS = (0.005, 0.01, 0.02)
"""Losses to full depth that are certified: 0.5, 1 and 2 points of accuracy."""
CONFIDENCE = 0.95
ALL = "all"
"""Stands for the choice among all criteria."""
SHOWN = "confidence"
"""The criterion of the figure, which compares runs; exits of one run are compared in its own criteria.png."""


@dataclasses.dataclass(frozen=True)
class ExitLine:
    """One criterion, or the choice among all, in one run; points are shown on the reported split."""

    criterion: str  # its name, or `ALL`
    chosen: Point | None  # on the threshold split, to go through half of the layers on average; None where none does
    held_out: float | None  # its primary metric on the threshold split
    certified: tuple[Point | None, ...]  # for each of `DROPS`; None where only full depth passed, or none was tried


@dataclasses.dataclass(frozen=True, eq=False)
class ExitTable:
    """All criteria in one run."""

    run: FinishedRun  # the run
    reported: Trace  # trace of the split that points are shown on
    full_depth: Point  # full depth there; its ``delta_dense`` is to the dense run of the table, where there is one
    lines: tuple[ExitLine, ...]  # the criteria in the order of their table, the choice among all of them last


def make_exit_tables(runs: Sequence[FinishedRun]) -> list[ExitTable]:
    """Compare criteria in each run that has early heads and held out a threshold split; empty where none has.

    A run without early heads among them, if there is just one, is the dense run that the full depth of the others is
    compared with.
    """
    traces = {run: read_traces(run) for run in runs}
    reasons: dict[str, list[str]] = {}
    early = [run for run in runs if "threshold" in traces[run].splits and traces[run].has_early_heads]
    dense = [traces[run].reported for run in runs if not traces[run].has_early_heads]
    tables = [_exit_table(run, traces[run], dense[0] if len(dense) == 1 else None, reasons) for run in early]
    for reason, names in reasons.items():
        log.info("exits: not certified in %d of %d runs: %s", len(set(names)), len(early), reason)
    return tables


def halfway_point(held_out: Trace, points: Sequence[OperatingPoint]) -> OperatingPoint | None:
    """Choose on the threshold split how to go through half of the layers on average, or a little less.

    A point fits where its mean depth and one standard error of it are within half, so that other texts mostly stay
    within half as well. Of the points that differ in their threshold alone the deepest that fits stands for all, rather
    than the most accurate: so many thresholds differ by chance. Among those the most accurate is taken, then the
    cheapest. None where no point goes through so few layers.
    """
    grid = measure_grid(held_out, points)
    depths = np.asarray(held_out.head_depths)[exit_heads(held_out, points)]
    upper = grid.avg_depth + depths.std(axis=1) / np.sqrt(len(held_out))
    best: dict[tuple[Any, ...], tuple[float, float, int]] = {}
    for i, point in enumerate(points):
        family, depth = (*point.family, point.threshold is None), float(grid.avg_depth[i])
        if upper[i] <= held_out.num_layers / 2 and depth > best.get(family, (0.0, 0.0, 0))[0]:
            best[family] = (depth, float(grid.values[i]), i)
    if not best:
        return None
    return points[max(best.values(), key=lambda found: (found[1], -grid.flops_ratio[found[2]]))[2]]


def _exit_table(run: FinishedRun, traces: RunTraces, dense: Trace | None, reasons: dict[str, list[str]]) -> ExitTable:
    """Compare the criteria in one run; ``reasons`` gets the name of a run in which one cannot be certified."""
    held_out, reported = traces.need("threshold", "exits"), traces.reported
    full = reported.full_depth
    same = dense is not None and np.array_equal(dense.labels, reported.labels)
    dense_logits = dense.full_depth if dense is not None and same else None
    halfway = {name: halfway_point(held_out, points) for name, points in early_exit_points(held_out).items()}
    halfway[ALL] = halfway_point(held_out, [point for point in halfway.values() if point is not None])
    lines = [
        ExitLine(
            name,
            None if point is None else measure_point(reported, point, full),
            None if point is None else float(measure_grid(held_out, [point]).values[0]),
            tuple(_certified(run, traces, drop, () if name == ALL else (name,), reasons) for drop in DROPS),
        )
        for name, point in halfway.items()
    ]
    return ExitTable(run, reported, measure_point(reported, FULL_DEPTH, full, dense_logits), tuple(lines))


def _certified(
    run: FinishedRun, traces: RunTraces, drop: float, criteria: tuple[str, ...], reasons: dict[str, list[str]]
) -> Point | None:
    settings = CertifySettings(max_drop=drop, confidence=CONFIDENCE, criteria=criteria)
    try:
        return make_certificate({run.name: traces}, settings).reported
    except ValueError as error:  # a split that is missing, too small or unfit, or no sequence leaves early
        reasons.setdefault(str(error), []).append(run.name)
        return None


def _points(table: ExitTable) -> Iterator[tuple[Point, str]]:
    """Yield every point of a table with a note of what it is."""
    yield table.full_depth, "full depth"
    for line in table.lines:
        among = "the best of all criteria, " if line.criterion == ALL else ""
        if line.chosen is not None:
            yield line.chosen, f"{among}half of the layers on the threshold split"
        for drop, certified in zip(DROPS, line.certified, strict=True):
            if certified is not None:
                yield certified, f"{among}accuracy gap certified at {drop:g} with {CONFIDENCE:.0%} confidence"


def write_exits(tables: Sequence[ExitTable], names: Mapping[str, str], out: Path) -> None:
    """Write the comparison into a folder, each file whole or not at all; ``names`` are those of the runs."""
    rows = [
        point_row(table.run, table.reported, point) | {"note": note}
        for table in tables
        for point, note in _points(table)
    ]
    write_rows(out / "exits.csv", rows)
    _draw(tables, names, out / "exits.png")
    write_text(out / "exits.md", exits_markdown(tables, names))


def exits_markdown(tables: Sequence[ExitTable], names: Mapping[str, str]) -> str:
    """Lay out a line per run at the best of all criteria, then every criterion."""
    traces = [table.reported for table in tables]
    splits = dict.fromkeys(f"{t.task.name} {t.split} ({len(t):,} examples; {t.metadata['data']})" for t in traces)
    layers = dict.fromkeys(trace.num_layers for trace in traces)
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
    """Lay out what stands below `_headers`."""
    chosen = ["-"] * 3
    if line.chosen is not None:
        chosen = [points_text(line.chosen.delta), number(line.chosen.avg_depth, 2), number(line.chosen.flops_ratio)]
    return [*chosen, *map(_flops, line.certified)]


def _flops(point: Point | None) -> str:
    if point is None:
        return "-"
    return number(point.flops_ratio) + ("" if point.delta is None else f" ({points_text(point.delta)})")


def _draw(tables: Sequence[ExitTable], names: Mapping[str, str], path: Path) -> None:
    """Draw what each run loses to its own full depth, over the thresholds of one criterion; a panel per pooling."""
    panels: dict[str, list[ExitTable]] = defaultdict(list)
    for table in tables:
        panels[table.reported.config["heads"]["pooling"]].append(table)
    looks = run_looks([table.run.name for table in tables])
    labels = {t.run.name: f"{names[t.run.name]} ({next(iter(t.full_depth.metrics.values())):.3f})" for t in tables}
    with drawing(path, *beside_legend(list(labels.values()), 4.6 * len(panels) + 0.6, 4.2)) as figure:
        axes_of = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        lines: dict[str, Any] = {}
        for axes, (pooling, shown) in zip(axes_of, panels.items(), strict=True):
            for table in shown:
                points = tuple(criterion_points(SHOWN, table.reported, score_quantiles(table.reported)))
                if not points:
                    continue
                grid = measure_grid(table.reported, points)
                full = next(iter(table.full_depth.metrics.values()))
                order = np.argsort(grid.avg_depth)
                lost = 100 * (grid.values[order] - full)
                name = table.run.name
                (lines[labels[name]],) = axes.plot(grid.avg_depth[order], lost, **looks[name], linewidth=1.2)
            axes.axhline(0, color=GREY, linewidth=0.8, linestyle="--")
            axes.set_xlabel(f"average depth, exit by {SHOWN}")
            if len(panels) > 1:
                axes.set_title(f"heads on {pooling}")
        axes_of[0].set_ylabel("points to own full depth, " + ", ".join(dict.fromkeys(t.reported.split for t in tables)))
        where: dict[str, Any] = {
            "loc": "outside right center",
            "fontsize": 7.5,
            "title": "run (full depth)",
            "title_fontsize": 7.5,
        }
        figure.legend(list(lines.values()), list(lines), **where)
