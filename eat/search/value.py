"""What a trial is worth: its thresholds replayed on the trace of its threshold split, from one training."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eat.evaluation.criteria import pareto_front
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.runs.data import load_data
from eat.runs.finished import FinishedRun
from eat.traces.grid import measure_grid
from eat.traces.record import record_trace
from eat.traces.storage import read_trace, write_trace
from eat.traces.sweeps import score_quantiles, sweep
from eat.traces.trace import Trace

SPLIT = "threshold"
ROUNDING = 1e-9  # 0.73 - 0.01 is not always 0.72


@dataclasses.dataclass(frozen=True)
class Point:
    """An operating point on the threshold split."""

    exit: Mapping[str, Any]  # the exit's name and arguments
    quality: float  # of the task's primary metric
    flops_ratio: float  # executed FLOPs / those of the dense encoder at full depth
    avg_depth: float  # mean depth at which examples leave


@dataclasses.dataclass(frozen=True)
class Value:
    """What a trial is worth."""

    full_depth: Point
    front: tuple[Point, ...]  # points that no other of this trial beats, cheapest first
    chosen: Point  # the one that the trial is judged by
    examples: int
    labels: str  # digest of the examples' labels: trials are compared on the same ones

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Value":
        """Read back what `dataclasses.asdict` gave."""
        front = tuple(Point(**point) for point in values["front"])
        points = {key: Point(**values[key]) for key in ("full_depth", "chosen")}
        return cls(front=front, **points, examples=values["examples"], labels=values["labels"])


def trace_held_out(
    run: FinishedRun, path: Path, places: Mapping[str, str | Path | None], device: str = "auto"
) -> Trace:
    """Trace a run's threshold split, and no other: no trial sees the reported one. What is at ``path`` is kept."""
    fingerprint = run.raw_fingerprint()
    if path.is_file() and (kept := read_trace(path)).metadata.get("fingerprint") == fingerprint:
        return kept
    data = load_data(run, places)
    metadata = {"split": SPLIT, "config": run.model_config(), "fingerprint": fingerprint}
    model = run.load_model(device, certified=False)
    trace = record_trace(model, data.loader(SPLIT), data.task, metadata=metadata)
    write_trace(trace, path)
    return trace


def measure(trace: Trace, exit: OperatingPoint, max_drop: int | float | None) -> Value:
    """Replay an exit at all of its thresholds, and choose the point that a trial is judged by.

    That is the cheapest one whose quality is at most ``max_drop`` below full depth's on the same examples; full depth
    itself where it is None.

    Raises:
        ValueError: If the quality of full depth is undefined (NaN).
    """
    swept = sweep(exit, len(trace.head_depths), score_quantiles(trace)(exit))
    grid = measure_grid(trace, (FULL_DEPTH, *swept))
    points = [
        Point(point.spec, float(value), float(flops), float(depth))
        for point, value, flops, depth in zip(grid.points, grid.values, grid.flops_ratio, grid.avg_depth, strict=True)
    ]
    full = points[0]
    if np.isnan(full.quality):
        raise ValueError(f"{trace.task.metrics[0]} is undefined on the threshold split: all answers are the same")
    front = tuple(points[i] for i in pareto_front(grid))
    chosen = full if max_drop is None else cheapest(front, full.quality - max_drop)
    labels = hashlib.sha256(np.ascontiguousarray(trace.labels).tobytes()).hexdigest()[:16]
    return Value(full, front, chosen, len(trace), labels)


def cheapest(front: Sequence[Point], at_least: float) -> Point:
    """Return the cheapest point of a front whose quality is high enough; there is one where full depth's is."""
    return next(point for point in front if point.quality >= at_least - ROUNDING)
