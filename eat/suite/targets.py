"""The figures to reach, as data: which rows answer each, and what came out."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from eat.benchmark.contenders import ALL_OFF, PADDED
from eat.suite.pool import PLAIN, POOL
from eat.suite.records import Row
from eat.suite.timed import ALL_EXIT, LONG, PRUNED, PRUNED_EXITS, WINDOWED_HALF, WINDOWED_NAME

SHAPES_ON_CPU = ("minilm", "bert_base")
SST2: Mapping[str, Any] = {"inputs": "sst2"}
MEMORY = {"peak_mib": "peak memory of the process", "over_loaded_mib": "memory for answering, at its peak"}
LONG_IMDB = f"imdb from {LONG} tokens"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure to reach.

    Attributes:
        what: What is compared, for the table.
        part: The part that measures it.
        where: Values of columns by which its row is found.
        target: The number to reach.
        column: "speedup" over the row's baseline; "efficiency"; "peak_mib" or "over_loaded_mib", the peak over the
            baseline's, whole or above what the process held once it was ready to answer.
        at_most: Lower is better.
        device: "cpu" or "cuda".
    """

    what: str
    part: str
    where: Mapping[str, Any]
    target: float
    column: str = "speedup"
    at_most: bool = False
    device: str = "cpu"


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured for a figure.

    Attributes:
        value: The number.
        low: Lower end of its 95 % interval; None where there is none.
        high: Upper end.
        allowed: The speed-up that the executed work alone would allow; None where nothing was counted.
    """

    value: float
    low: float | None
    high: float | None
    allowed: float | None

    def reaches(self, figure: Figure) -> bool:
        """Whether the number is on the right side of the target."""
        return self.value <= figure.target if figure.at_most else self.value >= figure.target


def find(figure: Figure, rows: Sequence[Row], threads: int | None, dtype: str) -> Measured | str:
    """Find what was measured for a figure, or say why nothing was.

    Args:
        figure: What is asked.
        rows: Of all parts.
        threads: Of the column in question.
        dtype: Of the column in question.
    """
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
    return _memory(row, of_part, figure.column) if figure.column in MEMORY else _time(row, figure.column)


def figures(shapes: Sequence[str] = SHAPES_ON_CPU) -> list[Figure]:
    """List the figures to reach on a CPU for these shapes, then those on a GPU."""
    return [figure for shape in shapes for figure in _on_cpu(shape)] + _on_gpu("bert_base")


def _time(row: Row, column: str) -> Measured:
    factor = row["flops_ratio"] if column == "efficiency" else 1.0
    allowed = 1 / row["flops_ratio"] if row["flops_ratio"] and row["baseline"] == ALL_OFF else None
    return Measured(row[column], row["speedup_low"] * factor, row["speedup_high"] * factor, allowed)


def _memory(row: Row, rows: Sequence[Row], column: str) -> Measured | str:
    same = ("shape", "dtype", "threads", "batch_size", "length")
    theirs = [r for r in rows if r["contender"] == row["baseline"] and all(r[key] == row[key] for key in same)]
    if not theirs or not theirs[0][column]:
        return f"not measured ({row['baseline']} was not)"
    return Measured(row[column] / theirs[0][column], None, None, None)


def _on_cpu(shape: str) -> list[Figure]:
    """List what is asked of each shape; windowed attention pays less where the rest of a block is wider."""
    at_2048, at_4096 = (2.0, 3.5) if shape == "minilm" else (1.3, 1.8)
    return [
        *(_serving(shape, *case) for case in (("sst2", 1, 1.25), ("sst2", 32, 1.7), ("imdb", 8, 1.6))),
        _over_all_off(shape, "pruning", "the paper's pruning over all off", PRUNED, SST2, 32, 1.2),
        _efficiency(shape, SST2, 32, 0.87),
        _efficiency(shape, {"inputs": LONG_IMDB}, 1, 0.75),
        *(
            _over_all_off(shape, "depth", "all leave at a third of the depth, over all off", ALL_EXIT, SST2, size, 2.6)
            for size in (1, 32)
        ),
        _windowed(shape, 2048, at_2048),
        _windowed(shape, 4096, at_4096),
        Figure(
            what="windowed: time at 4096 over time at 2048 tokens",
            part="windowed",
            where={"shape": shape, "length": 4096, "contender": WINDOWED_HALF, "baseline": WINDOWED_NAME},
            target=2.2,
            at_most=True,
        ),
        *(_peak(shape, *case, column) for column in MEMORY for case in ((8, 512), (1, 4096))),
        *([_training(shape), _pool(shape)] if shape == "minilm" else []),
    ]


def _on_gpu(shape: str) -> list[Figure]:
    live = "pruning and exits, half leave early, over all off"
    return [
        dataclasses.replace(_serving(shape, "sst2", 32, 1.8), device="cuda"),
        dataclasses.replace(_serving(shape, "sst2", 1, 1.5), device="cuda"),
        *(
            dataclasses.replace(_over_all_off(shape, "pruning", live, PRUNED_EXITS, SST2, size, 1.0), device="cuda")
            for size in (1, 8, 32, 128)
        ),
    ]


def _serving(shape: str, inputs: str, size: int, target: float) -> Figure:
    named = {"sst2": "SST-2", "imdb": "IMDB cut at 512"}[inputs]
    where = {"shape": shape, "inputs": inputs, "batch_size": size, "contender": ALL_OFF, "baseline": PADDED}
    return Figure(
        what=f"all off over Hugging Face padded: batch {size}, {named}", part="serving", where=where, target=target
    )


def _over_all_off(
    shape: str, part: str, what: str, contender: str, inputs: Mapping[str, Any], size: int, target: float
) -> Figure:
    where = {"shape": shape, "batch_size": size, "contender": contender, "baseline": ALL_OFF, **inputs}
    return Figure(what=f"{what}: batch {size}", part=part, where=where, target=target)


def _efficiency(shape: str, inputs: Mapping[str, Any], size: int, target: float) -> Figure:
    what = f"efficiency of the paper's pruning{'' if inputs == SST2 else f' from {LONG} tokens'}"
    figure = _over_all_off(shape, "pruning", what, PRUNED, inputs, size, target)
    return dataclasses.replace(figure, column="efficiency")


def _windowed(shape: str, length: int, target: float) -> Figure:
    where = {"shape": shape, "length": length, "contender": WINDOWED_NAME, "baseline": ALL_OFF}
    return Figure(what=f"windowed over full attention: {length} tokens", part="windowed", where=where, target=target)


def _peak(shape: str, size: int, length: int, column: str) -> Figure:
    where = {"shape": shape, "batch_size": size, "length": length, "contender": ALL_OFF}
    what = f"{MEMORY[column]} over Hugging Face's: {size} x {length}"
    return Figure(what=what, part="memory", where=where, target=1.0, column=column, at_most=True)


def _training(shape: str) -> Figure:
    where = {"shape": shape, "contender": "eat"}
    return Figure(what="dense training over Hugging Face Trainer: batch 32", part="training", where=where, target=1.3)


def _pool(shape: str) -> Figure:
    where = {"shape": shape, "contender": POOL, "baseline": PLAIN}
    what = "survivor pool over plain batches of 32, half leave early"
    return Figure(what=what, part="pool", where=where, target=1.1)
