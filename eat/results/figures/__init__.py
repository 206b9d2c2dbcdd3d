"""Figures over finished runs, as PNG and PDF, from the files that the runs left."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from eat.results.figures.ablation import draw_ablation
from eat.results.figures.costs import draw_costs
from eat.results.figures.evidence import Evidence
from eat.results.figures.exits import draw_exits
from eat.results.figures.frontier import draw_frontier
from eat.results.figures.grouping import suites
from eat.results.figures.reliability import draw_reliability
from eat.results.figures.retention import draw_retention
from eat.results.figures.schedule import draw_schedule
from eat.results.figures.suite import NothingToDrawError, Suite
from eat.runs.finished import FinishedRun
from eat.suite.records import Row

FIGURES: Mapping[str, Callable[[Suite, Path], list[str]]] = {
    "frontier": draw_frontier,
    "ablation": draw_ablation,
    "schedule": draw_schedule,
    "retention": draw_retention,
    "exits": draw_exits,
    "costs": draw_costs,
    "reliability": draw_reliability,
}
"""Name of a figure's files -> what draws it, and returns notes on what it had to leave out."""


def draw_all(runs: Sequence[FinishedRun], folder: Path, curves: Sequence[Row] = ()) -> list[str]:
    """Draw every figure of every suite among some runs, each suite in a folder of its own, and say what is missing.

    Args:
        runs: Finished runs; those of one task, backbone, budget and protocol are one suite.
        folder: Gets a folder for each suite, such as ``sst2-minilm-laptop``.
        curves: Rows of a benchmark's ``curves.csv``, for measured times against length.

    Returns:
        Notes, a line each: what a figure leaves out, and which figure or run is left out, with the reason.

    Raises:
        ValueError: If runs that belong together answer other examples, or an experiment has a seed twice.
    """
    read, notes = [], []
    for run in runs:
        try:
            read.append(Evidence.of(run))
        except (FileNotFoundError, ValueError) as error:
            notes.append(f"left out: {error}")
    for suite in suites(read):
        notes += [f"{suite.name}: {note}" for note in draw_suite(suite, folder / suite.name, curves)]
    return notes


def draw_suite(suite: Suite, folder: Path, curves: Sequence[Row] = ()) -> list[str]:
    """Draw every figure of a suite into a folder; return notes as `draw_all` does."""
    notes = []
    drawers = dict(FIGURES)
    drawers["costs"] = partial(draw_costs, curves=curves)
    for name, draw in drawers.items():
        try:
            notes += draw(suite, folder / name)
        except NothingToDrawError as reason:
            notes.append(f"{name}: not drawn, {reason}")
    return notes
