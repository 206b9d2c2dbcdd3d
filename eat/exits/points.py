"""Operating points: an exit criterion with all of its arguments, as one value that is compared, named and stored."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eat.exits import EXITS, ExitCriterion, build_exit

MAX_THRESHOLDS_SHOWN = 4  # where there is one per class: names of operating points, and of their folders, stay short


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """An exit criterion and its arguments; two are equal where every argument is.

    Build it with `of`, which checks the arguments and writes them in one way.

    Attributes:
        name: Key of `EXITS`.
        arguments: (argument, value) in the constructor's order, defaults filled in and None left out.
    """

    name: str
    arguments: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> OperatingPoint:
        """Build from ``{"name": ..., **arguments}``, where None stands for an argument that is not given.

        Raises:
            ValueError: If the name or an argument is unknown, or a value out of range.
        """
        build_exit({key: value for key, value in spec.items() if value is not None})
        filled = {name: spec.get(name, default) for name, default in _defaults(spec["name"]).items()}
        lists = {key: tuple(map(float, value)) for key, value in filled.items() if isinstance(value, list | tuple)}
        return cls(spec["name"], tuple((key, value) for key, value in (filled | lists).items() if value is not None))

    @property
    def spec(self) -> dict[str, Any]:
        """The point as ``{"name": ..., **arguments}``: JSON values, as configurations and files hold it."""
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in self.arguments}
        return {"name": self.name, **plain}

    @property
    def threshold(self) -> float | tuple[float, ...] | None:
        """The threshold, or one per class; None where the criterion has none or it is switched off."""
        return dict(self.arguments).get("threshold")

    @property
    def patience(self) -> int | None:
        """The patience; None where the criterion has none."""
        return dict(self.arguments).get("patience")

    def takes(self, argument: str) -> bool:
        """Return whether the criterion has an argument of this name."""
        return argument in _defaults(self.name)

    def build(self) -> ExitCriterion:
        """Build the criterion.

        Raises:
            ValueError: If a value is out of range.
        """
        return build_exit(self.spec)

    def changed(self, changes: Mapping[str, Any]) -> OperatingPoint:
        """Replace arguments; another ``name`` starts from that criterion's defaults, and None changes nothing.

        Raises:
            ValueError: If the exit cannot be built from what comes out.
        """
        given = {key: value for key, value in changes.items() if value is not None}
        keeps = given.get("name", self.name) == self.name
        return OperatingPoint.of({**self.spec, **given} if keeps else given)

    def at(self, thresholds: Sequence[float]) -> tuple[OperatingPoint, ...]:
        """List the same exit at each of several thresholds, each for all classes; nothing where it has no threshold.

        Raises:
            ValueError: If a threshold is outside [0, 1].
        """
        if not self.takes("threshold"):
            return ()
        return tuple(self.changed({"threshold": float(threshold)}) for threshold in thresholds)

    @property
    def family(self) -> tuple[Any, ...]:
        """What it shares with the points that differ in the threshold alone."""
        return self.name, tuple(pair for pair in self.arguments if pair[0] != "threshold")

    @property
    def order(self) -> tuple[int, float]:
        """What points of one criterion are sorted by: patience, then (mean) threshold."""
        return self.patience or 0, 0.0 if self.threshold is None else float(np.mean(self.threshold))

    @property
    def columns(self) -> dict[str, Any]:
        """Its columns in a results table; arguments without a column of their own are part of the exit's name."""
        own = ("threshold", "patience")
        more = [f"+{key.partition('_')[0]}{value:g}" for key, value in self.arguments if key not in own]
        return {"exit": "".join([self.name, *more]), **{key: self.spec.get(key) for key in own}}

    @property
    def label(self) -> str:
        """Its name in tables and figures: ``confidence threshold=0.9``."""
        return " ".join([self.name, *(f"{key}={_text(value)}" for key, value in self.arguments)])

    @property
    def family_label(self) -> str:
        """Name it as all that differ in the threshold alone."""
        return " ".join([self.name, *(f"{key}={_text(value)}" for key, value in self.family[1])])

    @property
    def slug(self) -> str:
        """Its name as a folder: ``confidence-threshold-0.9``."""
        return self.label.replace(" ", "-").replace("=", "-")

    @property
    def overrides(self) -> list[str]:
        """What chooses it on the command line: ``exit=confidence exit.threshold=0.9``."""
        arguments = [f"exit.{key}={value}".replace(" ", "") for key, value in self.spec.items() if key != "name"]
        return [f"exit={self.name}", *arguments]


FULL_DEPTH = OperatingPoint("never")  # every sequence runs through all layers


def threshold_text(threshold: float | Sequence[float]) -> str:
    """Format a threshold shortly: ``0.9``, one per class ``0.8,0.9``, and many classes as range and digest."""
    return f"{threshold:g}" if isinstance(threshold, int | float) else str(_text(threshold))


@functools.cache
def _defaults(name: str) -> dict[str, Any]:
    return {key: parameter.default for key, parameter in inspect.signature(EXITS[name]).parameters.items()}


def _text(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return value
    numbers = [f"{number:g}" for number in value]
    if len(numbers) <= MAX_THRESHOLDS_SHOWN:
        return ",".join(numbers)
    digest = hashlib.sha256(",".join(numbers).encode()).hexdigest()[:8]
    return f"{min(value):g}..{max(value):g},{len(value)}-classes,{digest}"
