"""Operating points from a trace: which head answers whom, at what cost, for any criterion, in milliseconds."""

import dataclasses
import hashlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from eat.exits import EXITS, ExitCriterion, build_exit, check_exit
from eat.traces.trace import Trace

THRESHOLDS = (*np.round(np.arange(0.0, 1.0, 0.05), 2).tolist(), 0.97, 0.99, 1.0)
"""Swept where a criterion has a threshold; holds the paper's 0.80, 0.85, 0.90 and 0.95."""

FINE_THRESHOLDS = (*np.round(np.arange(0.0, 1.0, 0.01), 2).tolist(), 0.995, 0.999, 1.0)
"""Tried when a threshold is chosen."""

MAX_THRESHOLDS_SHOWN = 4
"""Where there is one per class: names of operating points, and of their folders, stay short."""

ExitSpec = dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Replay:
    """What the live encoder would have answered at one operating point.

    Attributes:
        logits: Logits of the exit taken.
        exit_depth: Depth at which each example leaves.
        tokens_kept: Tokens alive after each depth, 0 from the exit on; the work of block d is column d - 1.
    """

    logits: Float[np.ndarray, "examples classes"]
    exit_depth: Int[np.ndarray, " examples"]
    tokens_kept: Int[np.ndarray, "examples columns"]

    @property
    def retention(self) -> Float[np.ndarray, " examples"]:
        """Tokens that the last executed block worked on / tokens that came in."""
        last = np.take_along_axis(self.tokens_kept, self.exit_depth[:, None] - 1, axis=1)[:, 0]
        return last / self.tokens_kept[:, 0]


def exit_head(trace: Trace, criterion: ExitCriterion) -> Int[np.ndarray, " examples"]:
    """Return at which head (0 for the first) each example leaves.

    Args:
        trace: The traced split.
        criterion: Asked after each early head with the logits so far; the last head takes everybody.

    Raises:
        ValueError: If the criterion does not suit what the model predicts.
    """
    check_exit(criterion, trace.all_logits.shape[2])
    history = torch.from_numpy(trace.all_logits).transpose(0, 1)
    heads = torch.full((len(trace),), len(trace.head_depths) - 1)
    for head in reversed(range(len(trace.head_depths) - 1)):  # the earliest head that lets an example go wins
        heads[criterion(history[: head + 1])] = head
    return heads.numpy()


def replay(trace: Trace, criterion: ExitCriterion) -> Replay:
    """Apply a criterion to a trace as the encoder applies it live.

    Args:
        trace: The traced split.
        criterion: Asked after each early head with the logits so far; the last head takes everybody.

    Raises:
        ValueError: If the criterion does not suit what the model predicts.
    """
    head_index = exit_head(trace, criterion)
    exit_depth = np.asarray(trace.head_depths)[head_index]
    columns = np.arange(trace.num_layers + 1)
    return Replay(
        logits=trace.all_logits[np.arange(len(trace)), head_index],
        exit_depth=exit_depth,
        tokens_kept=np.where(columns < exit_depth[:, None], trace.tokens_kept, 0),
    )


def suits(criterion: ExitCriterion, trace: Trace) -> bool:
    """Return whether a criterion reads what the model predicts: class probabilities, or one number in regression."""
    return not (criterion.needs_classes if trace.is_regression else criterion.needs_score)


def sweep_specs(
    spec: Mapping[str, Any], num_heads: int, thresholds: Sequence[float] | None = None
) -> tuple[ExitSpec, ...]:
    """List the operating points to try for a criterion: its thresholds, else its patience, else itself.

    Args:
        spec: The run's exit, ``{"name": ..., **arguments}``; other arguments stay as they are.
        num_heads: Heads of the model, the last included; patience runs from 1 to one less.
        thresholds: The values to try instead of `THRESHOLDS`.

    Raises:
        ValueError: If the exit cannot be built from its spec, or a threshold is outside [0, 1].
    """
    specs = with_thresholds(spec, sorted(set(thresholds or THRESHOLDS)))
    if specs:
        return specs
    if "patience" in inspect.signature(EXITS[spec["name"]]).parameters:
        return tuple(dict(spec, patience=value) for value in range(1, max(2, num_heads)))
    return (dict(spec),)


def with_thresholds(spec: Mapping[str, Any], thresholds: Sequence[float]) -> tuple[ExitSpec, ...]:
    """List the same exit with each of several thresholds; nothing where it has none, or it is switched off (None).

    Where the exit has one per class, each of these stands for all classes.

    Raises:
        ValueError: If the exit cannot be built from its spec, or a threshold is outside [0, 1].
    """
    build_exit(spec)
    arguments = inspect.signature(EXITS[spec["name"]]).parameters
    if "threshold" not in arguments or spec.get("threshold", arguments["threshold"].default) is None:
        return ()
    specs = tuple(dict(spec, threshold=float(value)) for value in thresholds)
    for candidate in specs:
        build_exit(candidate)
    return specs


def distinct(trace: Trace, specs: Sequence[ExitSpec], always: Sequence[ExitSpec] = ()) -> tuple[ExitSpec, ...]:
    """Leave out operating points at which every example exits where it did at the one before.

    Args:
        trace: The split on which decisions are compared.
        specs: Operating points in order.
        always: Those that stay in any case.
    """
    chosen: list[ExitSpec] = []
    last: np.ndarray | None = None
    for spec in specs:
        depths = replay(trace, build_exit(spec)).exit_depth
        if last is None or spec in always or not np.array_equal(depths, last):
            chosen.append(spec)
        last = depths
    return tuple(chosen)


def normalised(spec: Mapping[str, Any]) -> ExitSpec:
    """Write an exit's spec in one way: defaults filled in, None left out, so that equal ones compare equal.

    Raises:
        ValueError: If the exit cannot be built from it.
    """
    build_exit({key: value for key, value in spec.items() if value is not None})
    parameters = inspect.signature(EXITS[spec["name"]]).parameters
    filled = {name: spec.get(name, parameter.default) for name, parameter in parameters.items()}
    if isinstance(filled.get("threshold"), list | tuple):
        filled["threshold"] = [float(value) for value in filled["threshold"]]
    return {"name": spec["name"]} | {name: value for name, value in filled.items() if value is not None}


def operating_point(own: Mapping[str, Any], changes: Mapping[str, Any]) -> ExitSpec:
    """Change an exit's arguments; another name starts from that criterion's defaults.

    Raises:
        ValueError: If the exit cannot be built from what comes out.
    """
    changes = {key: value for key, value in changes.items() if value is not None}
    keeps = changes.get("name", own["name"]) == own["name"]
    return normalised({**own, **changes} if keeps else changes)


def label(spec: Mapping[str, Any]) -> str:
    """Name an operating point in tables, figures and folders: ``confidence threshold=0.9``."""
    arguments = [f"{key}={_text(value)}" for key, value in spec.items() if key != "name" and value is not None]
    return " ".join([str(spec["name"]), *arguments])


def point_order(point: Mapping[str, Any]) -> tuple[int, float]:
    """Return by what operating points of one criterion are sorted: patience, then (mean) threshold.

    Args:
        point: An exit's spec, or a row of a results table.
    """
    threshold = point.get("threshold")
    return point.get("patience") or 0, 0.0 if threshold is None else float(np.mean(threshold))


def threshold_text(threshold: float | Sequence[float]) -> str:
    """Write a threshold shortly: ``0.9``, one per class ``0.8,0.9``, and many classes as range and digest."""
    return f"{threshold:g}" if isinstance(threshold, int | float) else str(_text(threshold))


def _text(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return value
    numbers = [f"{number:g}" for number in value]
    if len(numbers) <= MAX_THRESHOLDS_SHOWN:
        return ",".join(numbers)
    digest = hashlib.sha256(",".join(numbers).encode()).hexdigest()[:8]
    return f"{min(value):g}..{max(value):g},{len(value)}-classes,{digest}"
