"""Answers and what they come to: counts over rows, and sums over those that are answered."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from eat.checks import number, shown, whole_number


@dataclasses.dataclass(frozen=True)
class Answer:
    """What is written of a row, and whether its text was cut."""

    label: str | Sequence[str]  # of a regression the one name that it has; of a multi-label model all that apply
    score: float  # as in `eat.deployment.OnnxAnswer`
    exit_depth: int
    retention: float  # tokens that the last block run worked on / tokens that came in
    cut: bool
    probabilities: Sequence[float] = ()  # of each class or label; nothing where they are not asked for


@dataclasses.dataclass(frozen=True)
class Tally:
    """Counts over rows, and sums over those that are answered."""

    rows: int = 0
    unreadable: int = 0
    cut: int = 0  # texts that were longer than the model takes
    cached: int = 0  # answers that were remembered
    exit_depth: int = 0
    retention: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*map(sum, zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))

    @classmethod
    def from_json(cls, values: Any) -> Tally:
        """Read back what JSON holds of one.

        Raises:
            ValueError: If something is missing, unknown, of another type or below 0.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(values, Mapping) or sorted(values) != sorted(names):
            raise ValueError(f"expected counts of {names}, got {shown(values)}")
        counts = {name: whole_number(name, values[name], at_least=0) for name in names if name != "retention"}
        return cls(**counts, retention=number("retention", values["retention"], at_least=0))

    @classmethod
    def of(cls, answers: Sequence[Answer | None], cached: int) -> Tally:
        """Count the answers to a window."""
        found = [answer for answer in answers if answer is not None]
        return cls(
            rows=len(answers),
            unreadable=len(answers) - len(found),
            cut=sum(answer.cut for answer in found),
            cached=cached,
            exit_depth=sum(answer.exit_depth for answer in found),
            retention=sum(answer.retention for answer in found),
        )
