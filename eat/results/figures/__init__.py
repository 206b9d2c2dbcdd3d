"""Figures over finished runs, as PNG and PDF, from the files that the runs left."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from eat.results.collect import LoggedRun
from eat.results.figures.ablation import draw_ablation
from eat.results.figures.costs import draw_costs
from eat.results.figures.exits import draw_exits
from eat.results.figures.frontier import draw_frontier
from eat.results.figures.reliability import draw_reliability
from eat.results.figures.retention import draw_retention
from eat.results.figures.schedule import draw_schedule
from eat.results.figures.suite import NothingToDrawError, Suite, read_suite
from eat.results.group import Block, group
from eat.runs.naming import STANDARD
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


def draw_all(runs: Sequence[LoggedRun], folder: Path, curves: Sequence[Row] = ()) -> list[str]:
    """Draw every figure of every block among some runs, each block in a folder of its own, and say what is missing.

    Args:
        runs: Finished runs; they are sorted as tables sort them.
        folder: Gets a folder for each block, such as ``sst2-minilm-laptop``.
        curves: Rows of a benchmark's ``curves.csv``, for measured times against length.

    Returns:
        Notes, a line each: what a figure leaves out, and which figure or run is left out, with the reason.
    """
    blocks, problems = group(runs)
    notes = [str(problem) for problem in problems]
    for block, name in folder_names(blocks).items():
        suite, left_out = read_suite(block, blocks[block])
        drawn = [] if suite is None else draw_suite(suite, folder / name, curves)
        notes += [*left_out, *(f"{name}: {note}" for note in drawn)]
    return notes


def folder_names(blocks: Iterable[Block]) -> dict[Block, str]:
    """Name each block's folder by task, backbone, budget and protocol, and by what else tells several apart."""
    named: dict[str, list[Block]] = {}
    for block in sorted(blocks):
        parts = [block.task, block.backbone, block.budget]
        parts += [] if block.holdout == STANDARD else [f"holdout_{block.holdout}"]
        named.setdefault("-".join(parts), []).append(block)
    names = {}
    for name, alike in named.items():
        others = ("start", "split", "data", "rows")
        telling = [key for key in others if len({getattr(block, key) for block in alike}) > 1]
        for block in alike:
            told = filter(None, (getattr(block, key) for key in telling))
            names[block] = re.sub(r"[^\w.-]+", "_", "-".join([name, *told]))
    return names


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
