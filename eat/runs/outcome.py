"""How a training ended: which weights were kept, by which metric, and why it stopped; kept in the run's folder."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eat.checks import number, shown, whole_number
from eat.files import read_object, write_text

FILE = "training.json"


@dataclasses.dataclass(frozen=True)
class Compressed:
    """What a compression left of the matrices of the encoder's blocks."""

    name: str  # of `eat.training.compression.COMPRESSIONS`
    whole: int  # weights of the matrices before
    left: int  # weights that they still have
    nonzero: int  # of those left


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    steps: int  # optimiser steps taken
    epochs: int  # whole passes over the training rows
    metric: str  # what selects the best weights on the threshold split
    best_step: int | None  # whose weights are kept; None for the last ones, where no validation told which are best
    best_value: float | None  # the metric there
    stopped_early: str | None  # why it ended before its configured length; None where it did not
    class_weights: Mapping[str, float] | None = None  # what an example of each class counted; None for 1 each
    compression: Compressed | None = None  # None where nothing was compressed

    def write(self, folder: Path) -> None:
        """Write it into a run's folder, whole or not at all."""
        write_text(folder / FILE, json.dumps(dataclasses.asdict(self), indent=1) + "\n")


def read_outcome(folder: Path) -> Outcome | None:
    """Read what a training wrote into its folder; None where it wrote nothing, as older ones did not.

    Raises:
        ValueError: If the file is damaged; the message names it and the key.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    facts = read_object(path)
    try:
        return Outcome(
            steps=whole_number("steps", facts.get("steps"), at_least=0),
            epochs=whole_number("epochs", facts.get("epochs"), at_least=0),
            metric=_text("metric", facts),
            best_step=None if facts.get("best_step") is None else whole_number("best_step", facts["best_step"]),
            best_value=None if facts.get("best_value") is None else number("best_value", facts["best_value"]),
            stopped_early=None if facts.get("stopped_early") is None else _text("stopped_early", facts),
            class_weights=_weights(facts.get("class_weights")),
            compression=_compressed(facts.get("compression")),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}; delete it, and the report leaves it out") from error


def _weights(value: Any) -> dict[str, float] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError(f"class_weights: expected weights by class, got {shown(value)}")
    return {name: number("class_weights", weight, at_least=0) for name, weight in value.items()}


def _compressed(value: Any) -> Compressed | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError(f"compression: expected counts of weights, got {shown(value)}")
    counts = {key: whole_number(f"compression.{key}", value.get(key)) for key in ("whole", "left", "nonzero")}
    return Compressed(_text("name", value), **counts)


def _text(key: str, facts: Mapping[str, Any]) -> str:
    value = facts.get(key)
    if not isinstance(value, str) or not value or len(value.splitlines()) > 1:
        raise ValueError(f"{key}: expected a line of text, got {shown(value)}")
    return value
