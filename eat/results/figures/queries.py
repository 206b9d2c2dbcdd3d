"""Accuracy over latency of classifiers that answer single texts, the area of a point its size."""

from collections.abc import Sequence
from pathlib import Path

from eat.results.figures.style import LOOKS, SMALL, printing
from eat.tables import Row

AREA = 4.0
"""Square points for a MiB."""
LEAST = 30.0
"""Square points of a classifier that stores nothing, or little."""


def draw_queries(rows: Sequence[Row], path: Path, title: str) -> None:
    """Draw the rows of a queries.csv as ``path``.png and ``path``.pdf.

    Args:
        rows: As `eat.benchmark.queries.measure_queries` returns them.
        path: Without suffix.
        title: What was measured: data, machine, threads.
    """
    with printing(path, 3.6, title) as figure:
        axes = figure.subplots()
        for index, row in enumerate(rows):
            place = row["latency_ms_mean"], row["accuracy"]
            look = LOOKS[index % len(LOOKS)]
            axes.errorbar(*place, xerr=row["latency_ms_std"], color=look["color"], linewidth=0.8, alpha=0.6, zorder=1)
            area = max(LEAST, AREA * (row["size_mib"] or 0))
            axes.scatter(
                *place, s=area, color=look["color"], marker="o", alpha=0.55, edgecolors="black", linewidths=0.6
            )
            size = "" if row["size_mib"] is None else f", {row['size_mib']:.0f} MiB"
            axes.annotate(f"{row['name']}{size}", place, (7, 6), textcoords="offset points", fontsize=SMALL)
        axes.set_xscale("log")
        axes.set_xlabel("latency of one text (ms, mean and standard deviation; tokenising included)")
        axes.set_ylabel("accuracy")
        axes.margins(0.18)
