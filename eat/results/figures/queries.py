"""Accuracy over latency of classifiers that answer single texts, the area of a point its size."""

import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from eat.results.figures.style import LOOKS, SMALL, printing
from eat.tables import Row

AREA = 3.0
"""Square points for a MiB."""
LEAST = 30.0
"""Square points of a classifier that stores nothing, or little."""
COLUMNS = 2
"""Of the legend."""
NEAR = (0.08, 0.002)
"""Logarithm of latency, and accuracy, within which two points' numbers are written one below the other."""
PANELS = 3
"""Beside each other."""
LIGHT = "0.75"
"""What a panel is not about."""


def draw_families(rows: Sequence[Row], path: Path, title: str) -> None:
    """Draw a panel for each family of the rows, beside the first row and, in grey, all others.

    Args:
        rows: As `draw_queries` takes them, whose numbers they keep; those without a family are only grey.
        path: Without suffix.
        title: What was measured: data, machine, threads.
    """
    families = list(dict.fromkeys(row["family"] for row in rows if row["family"]))
    columns = min(PANELS, len(families))
    lines = math.ceil(len(families) / columns)
    entries = 1 + sum(bool(row["family"]) for row in rows[1:])
    legend = {1: Line2D([], [], linestyle="", color="black", marker="*")}
    with printing(path, 0.5 + 2.2 * lines + 0.17 * math.ceil(entries / COLUMNS), title) as figure:
        grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for place, (axes, family) in enumerate(zip(grid, families, strict=False)):
            axes.scatter(*_places(rows[1:]), s=10, color=LIGHT, zorder=1)
            axes.scatter(*_places(rows[:1]), s=60, marker="*", color="black", zorder=2)
            axes.axhline(rows[0]["accuracy"], color=LIGHT, linewidth=0.8, zorder=0)
            members = [(number, row) for number, row in enumerate(rows, start=1) if row["family"] == family]
            for (number, row), look in zip(members, cycle(LOOKS), strict=False):
                style = {"color": look["color"], "marker": look["marker"]}
                axes.scatter(*_places([row]), s=26, zorder=3, **style)
                legend.setdefault(number, Line2D([], [], linestyle="", **style))
                point = row["latency_ms_mean"], row["accuracy"]
                axes.annotate(str(number), point, (0, 5), textcoords="offset points", fontsize=SMALL, ha="center")
            axes.set_title(family, fontsize=8)
            axes.margins(0.12)
            _in_milliseconds(axes)
            axes.tick_params(labelbottom=True)
            if place >= len(families) - columns:
                axes.set_xlabel("latency of one text (ms, mean)", fontsize=SMALL)
        for axes in grid[len(families) :]:
            axes.set_axis_off()
        figure.supylabel("accuracy", fontsize=SMALL)
        labels = [f"{number}  {_sized(rows[number - 1])}" for number in legend]
        figure.legend(
            list(legend.values()), labels, loc="outside lower left", ncols=COLUMNS, fontsize=SMALL, frameon=False
        )


def draw_queries(rows: Sequence[Row], path: Path, title: str) -> None:
    """Draw the rows of a queries.csv as ``path``.png and ``path``.pdf.

    Args:
        rows: As `eat.benchmark.queries.measure_queries` returns them.
        path: Without suffix.
        title: What was measured: data, machine, threads.
    """
    with printing(path, 3.2 + 0.17 * math.ceil(len(rows) / COLUMNS), title) as figure:
        axes = figure.subplots()
        for index, row in enumerate(rows):
            place = row["latency_ms_mean"], row["accuracy"]
            look = LOOKS[index % len(LOOKS)]
            axes.errorbar(*place, xerr=row["latency_ms_std"], color=look["color"], linewidth=0.8, alpha=0.5, zorder=1)
            area = max(LEAST, AREA * (row["size_mib"] or 0))
            axes.scatter(*place, s=area, color=look["color"], alpha=0.55, edgecolors="black", linewidths=0.6, zorder=2)
            # The number, beside the name in the legend, tells points apart whose circles lie on each other.
            axes.scatter(*place, s=14, color=look["color"], label=f"{index + 1}  {_sized(row)}", zorder=3)
            down = math.sqrt(area / math.pi) + 8 * (1 + sum(_near(row, other) for other in rows[:index]))
            axes.annotate(str(index + 1), place, (0, -down), textcoords="offset points", fontsize=SMALL, ha="center")
        _in_milliseconds(axes)
        axes.set_xlabel("latency of one text (ms, mean and standard deviation; tokenising included)")
        axes.set_ylabel("accuracy")
        axes.margins(0.12)
        figure.legend(loc="outside lower left", ncols=COLUMNS, fontsize=SMALL, handletextpad=0.2, frameon=False)


def _sized(row: Row) -> str:
    return row["name"] if row["size_mib"] is None else f"{row['name']}, {row['size_mib']:.0f} MiB"


def _places(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    return [row["latency_ms_mean"] for row in rows], [row["accuracy"] for row in rows]


def _in_milliseconds(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _near(one: Row, other: Row) -> bool:
    """Whether the numbers below two points would cover each other."""
    return abs(math.log(one["latency_ms_mean"] / other["latency_ms_mean"])) < NEAR[0] and (
        abs(one["accuracy"] - other["accuracy"]) < NEAR[1]
    )
