"""Operating points from a trace: which head answers whom, at what cost, for any criterion, in milliseconds."""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from eat.evaluation.trace import Trace
from eat.exits import EXITS, ExitCriterion, build_exit

THRESHOLDS = (*np.round(np.arange(0.0, 1.0, 0.05), 2).tolist(), 0.97, 0.99, 1.0)
"""Swept where a criterion has a threshold; holds the paper's 0.80, 0.85, 0.90 and 0.95."""

FINE_THRESHOLDS = (*np.round(np.arange(0.0, 1.0, 0.01), 2).tolist(), 0.995, 0.999, 1.0)
"""Tried when a threshold is chosen."""

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


def replay(trace: Trace, criterion: ExitCriterion) -> Replay:
    """Apply a criterion to a trace as the encoder applies it live.

    Args:
        trace: The traced split.
        criterion: Asked after each early head with the logits so far; the last head takes everybody.

    Raises:
        ValueError: If the criterion reads class probabilities and the model predicts a score.
    """
    if criterion.needs_classes and trace.is_regression:
        raise ValueError(f"{type(criterion).__name__} reads class probabilities; a regression model has none")
    history = torch.from_numpy(trace.all_logits).transpose(0, 1)
    heads = torch.full((len(trace),), len(trace.head_depths) - 1)
    for head in reversed(range(len(trace.head_depths) - 1)):  # the earliest head that lets an example go wins
        heads[criterion(history[: head + 1])] = head
    head_index = heads.numpy()
    exit_depth = np.asarray(trace.head_depths)[head_index]
    columns = np.arange(trace.num_layers + 1)
    return Replay(
        logits=trace.all_logits[np.arange(len(trace)), head_index],
        exit_depth=exit_depth,
        tokens_kept=np.where(columns < exit_depth[:, None], trace.tokens_kept, 0),
    )


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
    arguments = [f"{key}={value}" for key, value in spec.items() if key != "name" and value is not None]
    return " ".join([str(spec["name"]), *arguments])
