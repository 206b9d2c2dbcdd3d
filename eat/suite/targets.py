"""The figures to reach: which rows answer each, and what came out."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import yaml

from eat.benchmark.contenders import ALL_OFF
from eat.suite.records import Row
from eat.suite.shapes import SHAPES

MEMORY = ("peak_mib", "over_loaded_mib")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure to reach."""

    what: str  # what is compared, for the table
    part: str  # the part that measures it
    where: Mapping[str, Any]  # values of columns by which its row is found
    target: float
    column: str = "speedup"  # or "efficiency"; "peak_mib" or "over_loaded_mib", over the baseline's
    at_most: bool = False
    device: str = "cpu"  # "cpu" or "cuda"


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured for a figure."""

    value: float
    low: float | None  # lower end of its 95 % interval; None where there is none
    high: float | None
    allowed: float | None  # the speed-up that the executed work alone would allow; None where nothing was counted

    def reaches(self, figure: Figure) -> bool:
        """Whether the number is on the right side of the target."""
        return self.value <= figure.target if figure.at_most else self.value >= figure.target


def find(figure: Figure, rows: Sequence[Row], threads: int | None, dtype: str) -> Measured | str:
    """Find what was measured for a figure, or say why nothing was."""
    of_part = [row for row in rows if row["part"] == figure.part]
    if not of_part:
        return f"not measured (parts=[{figure.part}] was not run)"
    wanted = {"dtype": dtype, **figure.where}
    if figure.column not in MEMORY:  # which threads share
        wanted["threads"] = threads
    found = [row for row in of_part if all(row[key] == value for key, value in wanted.items())]
    if not found:
        return "not measured (not among the settings)"
    row = found[0]
    if row["not_measured"]:
        return f"not measured ({row['not_measured']})"
    if figure.column in MEMORY:
        return _memory(row, of_part, figure.column)
    factor = row["flops_ratio"] if figure.column == "efficiency" else 1.0
    allowed = 1 / row["flops_ratio"] if row["flops_ratio"] and row["baseline"] == ALL_OFF else None
    low, high = (None if row[end] is None else row[end] * factor for end in ("speedup_low", "speedup_high"))
    return Measured(row[figure.column], low, high, allowed)


@functools.cache
def figures() -> tuple[Figure, ...]:
    """Read the figures to reach from `targets.yaml`: those on a CPU, shape after shape, then those on a GPU."""
    entries = yaml.safe_load((resources.files("eat.suite") / "targets.yaml").read_text(encoding="utf-8"))
    return tuple(
        _figure(entry, shape, targets[shape])
        for device in ("cpu", "cuda")
        for shape in SHAPES
        for entry in entries
        if entry.get("device", "cpu") == device and shape in (targets := entry.get("at_least") or entry["at_most"])
    )


def _figure(entry: Mapping[str, Any], shape: str, target: float) -> Figure:
    more = {key: value for key, value in entry.items() if key not in ("at_least", "at_most", "where")}
    return Figure(where={"shape": shape, **entry["where"]}, target=target, at_most="at_most" in entry, **more)


def _memory(row: Row, rows: Sequence[Row], column: str) -> Measured | str:
    same = ("shape", "dtype", "threads", "batch_size", "length")
    theirs = [r for r in rows if r["contender"] == row["baseline"] and all(r[key] == row[key] for key in same)]
    if not theirs or not theirs[0][column]:
        return f"not measured ({row['baseline']} was not)"
    return Measured(row[column] / theirs[0][column], None, None, None)
