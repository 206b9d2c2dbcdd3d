"""What LoadGen found, a panel for each scenario in MLPerf's own measure of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from eat.evaluation.loadgen import title_of
from eat.evaluation.report.figures import BLUE, ORANGE
from eat.results.figures.style import SMALL, printing
from eat.tables import Row

PANELS: Mapping[str, tuple[str, str]] = {
    "single_stream": ("latency_ms_p90", "single stream: p90 (ms)"),
    "offline": ("queries_per_s", "offline: texts/s"),
    "server": ("server_qps", "server: queries/s"),
}
"""Scenario -> the column that is drawn, and what it is called."""


def draw_loadgen(rows: Sequence[Row], path: Path, title: str) -> None:
    """Draw the rows of a loadgen.csv as ``path``.png and ``path``.pdf; eat's own have a colour of their own.

    A server that met its bound at no rate that was tried has "none"; a run that is not valid is hollow.
    """
    names = list(dict.fromkeys(row["contender"] for row in rows))
    shown = [scenario for scenario in PANELS if any(row["scenario"] == scenario for row in rows)]
    with printing(path, 1.0 + 0.24 * len(names), title) as figure:
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for scenario, axes in zip(shown, panels, strict=True):
            column, label = PANELS[scenario]
            for row in rows:
                if row["scenario"] != scenario:
                    continue
                value, place = row[column] or 0.0, names.index(row["contender"])
                colour = ORANGE if row["exit"] is not None else BLUE
                face = colour if row["valid"] == "yes" else "none"
                axes.barh(place, value, color=face, edgecolor=colour, height=0.7)
                text = "none" if row[column] is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"
                axes.annotate(text, (value, place), (2, 0), textcoords="offset points", va="center", fontsize=SMALL)
            axes.set_xlabel(label)
            axes.margins(x=0.22)
            axes.set_xlim(left=0)
            axes.grid(axis="y", visible=False)
        panels[0].set_yticks(range(len(names)), [title_of(name) for name in names], fontsize=SMALL)
        panels[0].invert_yaxis()
