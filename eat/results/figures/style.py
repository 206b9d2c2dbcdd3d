"""How figures over runs look: that of a report's figures, in the width of a printed page, as PNG and PDF."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from eat.evaluation.report.figures import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, STYLE
from eat.files import replacing

logging.getLogger("fontTools").setLevel(logging.WARNING)  # PDFs hold parts of fonts, and it tells every step

WIDTH = 6.9
"""Inches: the text of a page, so that fonts are printed as large as they say."""
SMALL = 7.5
"""Font size of legends and of labels beside points."""
LEGEND_LINE = 0.16
"""Inches: a line of a legend in that size."""
CHARACTERS = 125
"""So many of them are as wide as a page, in that size."""
LOOKS: Sequence[dict[str, Any]] = tuple(
    {"color": colour, "marker": marker, "linestyle": line}
    for colour, marker, line in (
        (BLUE, "o", "-"),
        (RED, "s", "--"),
        (GREEN, "^", "-."),
        (PURPLE, "D", ":"),
        (ORANGE, "v", (0, (5, 1, 1, 1, 1, 1))),
        (SKY, "P", (0, (1, 1))),
    )
)
"""Colours of Okabe and Ito, each with a marker and dashes of its own: they differ in print without colour, too."""
PRINT: dict[Any, Any] = {**STYLE, "savefig.dpi": 200, "pdf.fonttype": 42, "axes.titlesize": 9, "legend.fontsize": SMALL}

Named = TypeVar("Named")


@contextmanager
def printing(path: Path, height: float, title: str) -> Iterator[Figure]:
    """Give a figure as wide as a page to draw on, then write it as PNG and PDF, each whole or not at all.

    The same figure gives the same bytes: no date is written. ``path`` has no suffix.
    """
    with mpl.rc_context(PRINT):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure
        figure.suptitle(broken(title, CHARACTERS - 15), fontsize=SMALL + 0.5)
        for suffix, metadata in (("png", {}), ("pdf", {"CreationDate": None})):
            with replacing(path.with_name(f"{path.name}.{suffix}")) as new:
                figure.savefig(new, format=suffix, metadata=metadata)


def broken(label: str, most: int) -> str:
    """Return a label in lines of at most so many characters, broken between words."""
    return "\n".join(wrap(label, most, break_long_words=False, break_on_hyphens=False))


def first_few(figure: str, named: Iterable[Named], most: int = len(LOOKS)) -> tuple[list[Named], list[str]]:
    """Return what one figure has room for, and the note that says so of a figure that leaves some out."""
    everything = list(named)
    left_out = len(everything) - most
    note = f"{figure}: shows the first {most} of {len(everything)} experiments, by name" if left_out > 0 else ""
    return everything[:most], [note] if note else []


def legend_below(figure: Figure, handles: Sequence[Any], names: Sequence[str]) -> None:
    """Put a legend below a figure, in as many columns as its longest name leaves room for; the figure grows with it."""
    columns = max(1, min(3, CHARACTERS // (max(map(len, names)) + 10)))
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * -(-len(names) // columns))
    figure.legend(handles, names, loc="outside lower center", ncols=columns, fontsize=SMALL)


def shades(count: int) -> np.ndarray:
    """Return colours from dark to light, for what has an order."""
    return np.asarray(mpl.colormaps["viridis"](np.linspace(0.1, 0.95, count)))
