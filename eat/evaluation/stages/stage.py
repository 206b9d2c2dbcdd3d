"""What a stage of an evaluation is."""

import dataclasses
from typing import Any, Protocol

from eat.evaluation.context import Evaluation
from eat.evaluation.report.section import Section


@dataclasses.dataclass(frozen=True)
class NoSettings:
    """Of a stage that has none."""


class Stage(Protocol):
    """A stage of an evaluation.

    Attributes:
        Settings: Frozen dataclass of what can be set; checks its values.
        needs_weights: Whether it runs the model itself.
        any_engine: Whether it can be about another engine than eat's own: it then rests on that engine's traces.
        asked_by: Settings that make it part of an evaluation; without any it is part of each that it can be part of.
    """

    Settings: type = NoSettings
    needs_weights: bool = False
    any_engine: bool = True
    asked_by: tuple[str, ...] = ()

    def __call__(self, run: Evaluation, settings: Any) -> Section | None:
        """Work, and return what the report shows of it; files of the section are written at once."""
        ...
