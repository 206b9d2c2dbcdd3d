"""Figures of a report. Colours are those of Okabe and Ito, told apart by colour-blind readers too."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eat.evaluation.findings import Findings
from eat.evaluation.report.rows import SHORTCUTS, row_label
from eat.evaluation.report.table import Row
from eat.exits.points import FULL_DEPTH, threshold_text
from eat.files import replacing
from eat.ops.calibration import Reliability
from eat.traces.quality import head_calibration
from eat.traces.replay import replay
from eat.traces.trace import Trace

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "font.size": 9,
    "axes.titlesize": 10,
    "savefig.dpi": 160,
}
PURPLE, SKY = "#CC79A7", "#56B4E9"
RUN_COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, "#8C6D31", GREY)
DASHES = ("-", "--", ":", "-.")
ENGINE_LOOKS = {
    "hugging": ("s", GREY),
    "onnxruntime": ("v", RED),
    "openvino": ("P", PURPLE),
    "ctranslate2": ("X", GREEN),
    "eat_onnx_static": ("h", ORANGE),
    "eat_bf16": ("^", ORANGE),
    "eat_onnx": ("d", ORANGE),
    "eat": ("D", ORANGE),
}
"""Marker and colour by how an engine's name begins; those in int8 are hollow, in bfloat16 half so."""
SERVED = {"eat_int8": "p", "eat_bf16": "^", "eat_onnx_static": "h"}
"""Marker of what another engine of ours serves, by its name; a star for all others."""
IN_PANEL = 5
"""So many names a panel has room for; more stand beside the panels."""
METRIC_NAMES = {"f1": "F1", "macro_f1": "macro F1", "matthews": "Matthews correlation"}


@contextmanager
def drawing(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Give a figure of so many inches to draw on, then write it, whole or not at all; the suffix names the format."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        with replacing(path) as new:
            figure.savefig(new, format=path.suffix.removeprefix("."))


def draw_frontier(rows: Sequence[Row], split: str, path: Path) -> None:
    """Draw a split of `frontier.csv`: quality against latency, at the smallest batch size timed, and executed work."""
    rows = [row for row in rows if row["split"] == split and row["value"] is not None]
    threads = min((row["threads"] for row in rows if row["threads"] is not None), default=None)
    size = smallest_timed(rows)
    timed = [row for row in rows if row["batch_size"] == size and row["threads"] == threads] if size else []
    others = [row for row in rows if row["model"] == "dense" and row["engine"] not in (None, "eat")]
    ours = [row for row in rows if row["flops_ratio"] is not None and row not in others]
    counted = list({row_label(row): row for row in ours}.values())
    panels = [(counted, _flops_ratio, "executed FLOPs / dense, unpadded, full depth", "counted")]
    if timed:
        latency = f"mean latency at batch size {size}, ms"
        panels.insert(0, (timed, _mean_latency, latency, f"measured, threads: {threads}"))
    names = {row_label(row) for row in rows if row["model"] != "eat"}
    crowded = len(names) > IN_PANEL
    height = max(4.0, _legend_height(len(names) + 2)) if crowded else 4.0  # two more: eat's own
    with drawing(path, 4.75 * len(panels) + (1.6 if crowded else 0), height) as figure:
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (points, column, name, title) in zip(grid, panels, strict=True):
            axes.set_ylim(*value_range([row["value"] for row in rows]))
            _draw_points(axes, points, column)
            axes.set_xlabel(name)
            if timed:
                axes.set_title(title)
        metric = metric_name(rows[0]["metric"])
        grid[0].set_ylabel(f"{metric}, {rows[0]['task']} {split} ({rows[0]['examples']:,} examples)")
        if crowded:
            figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right center", fontsize=7.5)
        else:
            grid[0].legend(loc="best", fontsize=8)


def draw_exits(findings: Findings, path: Path) -> None:
    """Draw how many tokens are left against how many came in, beside where examples leave if there are early heads."""
    early = len(findings.traces.reported.head_depths) > 1
    with drawing(path, 9.5 if early else 4.75, 3.6) as figure:
        panels = figure.subplots(1, 2 if early else 1, squeeze=False)[0]
        if early:
            _draw_depths(panels[0], findings)
        _draw_retention(panels[-1], findings)


def _draw_depths(axes: Axes, findings: Findings) -> None:
    """Draw which share of the examples leaves at each depth, a column for each swept point."""
    trace = findings.traces.reported
    points = findings.points[findings.traces.main]
    bottom = np.zeros(len(points))
    exits = [replay(trace, point.exit).exit_depth for point in points]
    shades = mpl.colormaps["viridis"](np.linspace(0.15, 0.9, len(trace.head_depths)))
    for depth, shade in zip(trace.head_depths, shades, strict=True):
        share = np.array([(depths == depth).mean() for depths in exits])
        axes.bar(range(len(points)), share, bottom=bottom, color=shade, width=0.85, label=f"depth {depth}")
        bottom += share
    usual = (findings.swept or findings.own).name
    names = [_short(point.exit.spec, usual) for point in points]
    axes.set_xticks(range(len(points)), names, rotation=90 if len(points) > 8 else 0, fontsize=7)
    axes.set(xlabel=usual, ylabel="share of examples", ylim=(0, 1))
    axes.set_title("where examples leave")
    axes.grid(visible=False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)


def _draw_retention(axes: Axes, findings: Findings) -> None:
    trace = findings.traces.reported
    for point, colour in {FULL_DEPTH: GREY, findings.own: BLUE}.items():
        name = "full depth" if point == FULL_DEPTH else point.label
        retention = replay(trace, point).retention
        axes.plot(*_mean_by_length(trace.lengths, retention), "o-", color=colour, markersize=3, label=name)
    axes.set(xlabel="tokens that came in", ylabel="share in the last executed block", ylim=(0, 1.05))
    axes.set_title("retention")
    axes.legend(fontsize=8)


def draw_calibration(raw: Trace, temperatures: Sequence[float] | None, path: Path) -> None:
    """Draw each head's reliability, 15 bins, dots sized by examples: how often it is right against how sure it is.

    A head that has a temperature other than 1 is drawn before and after.
    """
    before, after = head_calibration(raw), head_calibration(raw.divided(temperatures))
    with drawing(path, 2.6 * len(before) + 0.6, 3.3) as figure:
        panels = figure.subplots(1, len(before), squeeze=False, sharey=True)[0]
        for axes, depth, temperature in zip(panels, before, temperatures or [1.0] * len(before), strict=True):
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
            if temperature == 1:
                _draw_reliability(axes, *before[depth], BLUE, "raw")
            else:
                _draw_reliability(axes, *before[depth], ORANGE, "before")
                _draw_reliability(axes, *after[depth], BLUE, f"after, T = {temperature:.2f}")
            axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence")
            axes.set_title(f"head {depth}")
            axes.legend(loc="upper left", fontsize=7.5, handletextpad=0.2, borderaxespad=0.1)
        figure.axes[0].set_ylabel(f"accuracy, {raw.split}")


def _draw_reliability(axes: Axes, error: float, bins: Reliability, colour: str, name: str) -> None:
    counts = bins.counts.numpy()
    there = counts > 0
    points = bins.confidence.numpy()[there], bins.accuracy.numpy()[there]
    axes.plot(*points, "-", color=colour, linewidth=0.8, alpha=0.5)
    sizes = 8 + 90 * counts[there] / counts.max()
    axes.scatter(*points, s=sizes, color=colour, alpha=0.75, linewidth=0, clip_on=False)
    axes.plot([], [], "o", color=colour, markersize=4, label=f"{name}: ECE {100 * error:.1f} %")


def draw_runs(rows: Sequence[Row], names: Mapping[str, str], path: Path) -> None:
    """Draw rows of several runs' `frontier.csv`: quality against executed work, and latency where it was measured.

    A line of panels for each task, a line in them for each run.
    """
    rows = [row for row in rows if row["model"] == "eat"]
    size = smallest_timed(rows)
    rows = [row for row in rows if row["batch_size"] in (None, size)]
    panels = list(dict.fromkeys((row["task"], row["split"]) for row in rows))
    looks = run_looks(list(names))
    columns = [("flops_ratio", _flops_ratio, "executed FLOPs / dense, unpadded, full depth")]
    if size:
        columns.insert(0, ("examples_per_s", _mean_latency, f"mean latency at batch size {size}, ms"))
    inches = 4.75 * len(columns), 3.6 * len(panels)
    crowded = len(names) > IN_PANEL
    with drawing(path, *(beside_legend(list(names.values()), *inches) if crowded else inches)) as figure:
        grid = figure.subplots(len(panels), len(columns), sharey="row", squeeze=False)
        lines: dict[str, Any] = {}
        for (task, split), panel_line in zip(panels, grid, strict=True):
            there = [row for row in rows if (row["task"], row["split"]) == (task, split)]
            for axes, (measured, column, title) in zip(panel_line, columns, strict=True):
                for run in dict.fromkeys(row["run"] for row in there):
                    own = sorted((row for row in there if row["run"] == run and row[measured] is not None), key=column)
                    points = [*map(column, own)], [row["value"] for row in own]
                    look = looks[run] | {"marker": "o", "markersize": 4, "label": names[run]}
                    (lines[names[run]],) = axes.plot(*points, **look)
                axes.set_xlabel(title)
                axes.set_xlim(left=0)
                axes.set_ylim(*value_range([row["value"] for row in there]))
            panel_line[0].set_ylabel(f"{metric_name(there[0]['metric'])}, {task} {split}")
            if not crowded:
                panel_line[-1].legend(fontsize=7)
        if crowded:
            figure.legend(list(lines.values()), list(lines), loc="outside right center", fontsize=7.5)


def run_looks(runs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Give each run a colour, and dashes where there are more runs than colours."""
    count = len(RUN_COLOURS)
    return {
        run: {"color": RUN_COLOURS[place % count], "linestyle": DASHES[place // count % len(DASHES)]}
        for place, run in enumerate(runs)
    }


def beside_legend(names: Sequence[str], width: float, height: float) -> tuple[float, float]:
    """Return the inches of a figure whose panels take so many, with room beside them for a legend of these names."""
    return width + 0.6 + 0.06 * max(map(len, names)), max(height, _legend_height(len(names)))


def _legend_height(names: int) -> float:
    return 0.6 + 0.16 * names


def _draw_points(axes: Axes, rows: Sequence[Row], column: Callable[[Row], float]) -> None:
    """Draw the adaptive encoder's points as a labelled line that ends at full depth, everything else as markers."""
    ours = sorted((row for row in rows if row["model"] == "eat"), key=column)
    axes.plot([*map(column, ours)], [row["value"] for row in ours], "-", color=BLUE, linewidth=1.2)
    points = [row for row in ours if row["exit"] != FULL_DEPTH.name]
    line = [*map(column, points)], [row["value"] for row in points]
    name = "eat, leaving at the threshold shown" if points else None
    axes.plot(*line, "o", color=BLUE, markersize=4.5, label=name)
    for row in rows:
        if row not in points:
            place = (column(row), row["value"])
            axes.plot(*place, markersize=7, linestyle="none", label=row_label(row), **_look(row))
    axes.set_xlim(0, 1.06 * max(map(column, rows)))
    _annotate(axes, points, column)


def _look(row: Row) -> dict[str, Any]:
    """Return marker and colours of what is no operating point of eat's own engine."""
    if row["model"] in SHORTCUTS:
        return {"marker": f"${row['num_layers']}$", "color": GREY}  # marked by its number of layers
    if row["model"] == "eat":
        return {"marker": "^", "color": GREEN}  # its full depth
    engine = row["engine"] or "eat"
    marker, colour = next(look for name, look in ENGINE_LOOKS.items() if engine.startswith(name))
    if row["model"] != "dense":  # what another engine of ours serves
        marker, colour = SERVED.get(engine, "*"), SKY
    faces = {"int8": {"markerfacecolor": "white"}, "bfloat16": {"fillstyle": "left", "markerfacecoloralt": "white"}}
    return {"marker": marker, "color": colour, **faces.get(row["dtype"], {})}


def _annotate(axes: Axes, rows: Sequence[Row], column: Callable[[Row], float]) -> None:
    """Label points by their threshold, those that were timed first; leave out labels that would cover another."""
    placed: list[np.ndarray] = []
    to_axes = axes.transData + axes.transAxes.inverted()
    usual = statistics.mode(row["exit"] for row in rows) if rows else ""
    for row in sorted(rows, key=lambda row: row["batch_size"] is None):
        place = to_axes.transform((column(row), row["value"]))
        if all(np.abs(place - other)[1] > 0.045 or np.abs(place - other)[0] > 0.09 for other in placed):
            placed.append(place)
            text = _short({"threshold": row["threshold"], "patience": row["patience"], "name": row["exit"]}, usual)
            where = (column(row), row["value"])
            axes.annotate(text, where, (6, -8), textcoords="offset points", fontsize=7.5, color=BLUE)


def smallest_timed(rows: Iterable[Row]) -> int | None:
    """Return the smallest batch size that something of known quality was timed at; None where nothing was."""
    return min((row["batch_size"] for row in rows if is_timed(row)), default=None)


def is_timed(row: Row) -> bool:
    """Return True for a row with a time and a quality."""
    return row["batch_size"] is not None and row["value"] is not None and bool(row["examples_per_s"])


def _mean_latency(row: Row) -> float:
    """Mean time per example in ms: with exits a median hides those that stay."""
    return float(1e3 / row["examples_per_s"])


def _flops_ratio(row: Row) -> float:
    return float(row["flops_ratio"])


def value_range(values: Sequence[float]) -> tuple[float, float]:
    """Return limits around all values, at least five points apart, so that chance does not look like a slope."""
    middle, half = (min(values) + max(values)) / 2, max(0.025, 0.58 * (max(values) - min(values)))
    return middle - half, middle + half


def metric_name(metric: str) -> str:
    """Return what axes call a metric."""
    return METRIC_NAMES.get(metric, metric)


def _short(spec: Mapping[str, Any], usual: str) -> str:
    """Name a point by its threshold or patience, and by its criterion where that is not the usual one."""
    if spec["name"] == FULL_DEPTH.name:
        return "full depth"
    number = [threshold_text(spec["threshold"])] if spec.get("threshold") is not None else []
    if spec.get("patience") is not None and not number:
        number = [f"patience {spec['patience']}"]
    return " ".join([*([] if spec["name"] == usual and number else [spec["name"]]), *number])


def _mean_by_length(lengths: np.ndarray, values: np.ndarray, num_bins: int = 15) -> tuple[np.ndarray, np.ndarray]:
    """Return mean length and mean value of about equally filled bins of length."""
    groups = np.array_split(np.argsort(lengths, kind="stable"), min(num_bins, len(lengths)))
    return np.array([lengths[g].mean() for g in groups]), np.array([values[g].mean() for g in groups])
