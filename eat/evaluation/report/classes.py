"""Class by class, or label by label, at full depth and at the operating point: precision, recall, F1, confusions."""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes

from eat.checks import one_line
from eat.evaluation.context import Evaluation
from eat.evaluation.report.figures import drawing
from eat.evaluation.report.section import Section
from eat.evaluation.report.table import in_cell, number, render
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.tables import Table
from eat.traces.classes import ClassQuality, class_qualities, confusion_matrix, label_qualities
from eat.traces.quality import predictions
from eat.traces.replay import replay
from eat.traces.trace import Trace

CLASSES = Table(
    ("split", "exit", "class", "precision", "recall", "f1", "support", "predicted"),
    text=frozenset({"split", "exit", "class"}),
    counts=frozenset({"support", "predicted"}),
    title="columns of classes.csv",
)
CONFUSION = Table(
    ("split", "exit", "class", "predicted", "examples"),
    text=frozenset({"split", "exit", "class", "predicted"}),
    counts=frozenset({"examples"}),
    title="columns of confusion.csv",
)
SHOWN = 20
"""Most classes in the summary's table and in a figure with numbers; the files hold all."""
WIDEST = 20
"""Most characters of a class's name in a figure."""

Matrix = Int[np.ndarray, "classes classes"]


def classes_section(run: Evaluation) -> Section | None:
    """Lay out classes.csv, confusion.csv, confusion.png and a table of the main split; None of a regression.

    Labels that a text has any number of are not taken for one another: of a multi-label task classes.csv is all.
    """
    main = run.traces.reported
    if main.is_regression:
        return None
    points = list(dict.fromkeys([FULL_DEPTH, run.own]))
    names = main.task.label_names
    classes, confusion = [], []
    for split in run.traces.all_off:
        for point in points:
            trace, place = run.traces.splits[split], {"split": split, "exit": _title(point)}
            for found in _qualities(trace, point):
                values = {name: getattr(found, name) for name in CLASSES.columns[3:]}
                classes.append(CLASSES.row(**place, **{"class": found.name}, **values))
            matrix = np.zeros((0, 0)) if main.multi_label else _matrix(trace, point)
            for row, column in np.argwhere(matrix).tolist():
                pair = {"class": names[row], "predicted": names[column], "examples": int(matrix[row, column])}
                confusion.append(CONFUSION.row(**place, **pair))
    by_point = {_title(point): _qualities(main, point) for point in points}
    files: dict[str, Any] = {"classes.csv": CLASSES.as_csv(classes)}
    if main.multi_label:
        return Section("Labels", classes_markdown(main.split, by_point, len(main), each="label"), files=files)
    matrices = {_title(point): _matrix(main, point) for point in points}
    files["confusion.csv"] = CONFUSION.as_csv(confusion)
    files["confusion.png"] = partial(draw_confusion, main.split, names, matrices)
    return Section("Classes", classes_markdown(main.split, by_point, len(main)), files=files)


def classes_markdown(
    split: str, qualities: Mapping[str, Sequence[ClassQuality]], num_examples: int, each: str = "class"
) -> str:
    """Lay out a line per class or label, the last operating point's beside full depth; of many the worst.

    The mean is that of `eat.tasks.metrics.METRICS`' macro_f1: over classes that are there, or over all labels.
    """
    by_point, names = list(qualities.values()), [found.name for found in next(iter(qualities.values()))]
    several = "classes" if each == "class" else "labels"
    order = sorted(range(len(names)), key=lambda index: by_point[-1][index].f1)[:SHOWN]
    order = order if len(names) > SHOWN else list(range(len(names)))
    headers = [f"{each} on {split}", "examples"]
    for label in qualities:
        headers += [f"precision, {label}", "recall", "F1"]
    lines = []
    for index in order:
        cells = [in_cell(names[index]), f"{by_point[0][index].support:,}"]
        for found in by_point:
            cells += [number(value, 4) for value in (found[index].precision, found[index].recall, found[index].f1)]
        lines.append(cells)
    averages = [f"mean over {several}", f"{num_examples:,}"]
    for found in by_point:
        counted = [one for one in found if one.support or one.predicted or each == "label"]
        there = [(one.precision, one.recall, one.f1) for one in counted]
        averages += [number(mean, 4) for mean in np.mean(there, axis=0)]
    text = render(headers, [*lines, averages], markdown=True)
    if len(names) > SHOWN:
        text += f"\n\nThe {SHOWN} of {len(names)} {several} with the lowest F1; classes.csv has all."
    return text


def draw_confusion(split: str, names: Sequence[str], matrices: Mapping[str, Matrix], path: Path) -> None:
    """Draw a matrix for each operating point: of the examples of a class (row), the share predicted as each."""
    numbered = len(names) <= SHOWN
    side = max(2.4, 0.42 * len(names)) if numbered else 5.0
    short = [name if len(name) <= WIDEST else f"{name[: WIDEST - 1]}…" for name in map(one_line, names)]
    room = 0.075 * max(map(len, short)) if numbered else 0.0  # inches that the names take
    with warnings.catch_warnings(), drawing(path, side * len(matrices) + room + 1.4, side + room + 0.8) as figure:
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a class is named in another script
        panels = figure.subplots(1, len(matrices), squeeze=False, sharey=True)[0]
        for axes, (label, matrix) in zip(panels, matrices.items(), strict=True):
            shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
            image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
            axes.grid(visible=False)
            axes.set(title=label, xlabel="predicted")
            if numbered:
                _number(axes, matrix, shares, short)
        panels[0].set_ylabel(f"class, {split} ({int(next(iter(matrices.values())).sum()):,} examples)")
        figure.colorbar(image, ax=panels.tolist(), label="share of the class", shrink=0.8)


def _number(axes: Axes, matrix: Matrix, shares: np.ndarray, names: Sequence[str]) -> None:
    look: dict[str, Any] = {"fontsize": 7.5, "parse_math": False}  # a dollar sign is one
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 3 else 0, **look)
    axes.set_yticks(range(len(names)), names, **look)
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=7, color=colour)


def _title(point: OperatingPoint) -> str:
    return "full depth" if point == FULL_DEPTH else point.label


def _qualities(trace: Trace, point: OperatingPoint) -> list[ClassQuality]:
    names = trace.task.label_names
    if trace.multi_label:
        return label_qualities(trace.labels, predictions(replay(trace, point).logits, multi_label=True), names)
    return class_qualities(_matrix(trace, point), names)


def _matrix(trace: Trace, point: OperatingPoint) -> Matrix:
    return confusion_matrix(trace.labels, predictions(replay(trace, point).logits), trace.task.num_labels)
