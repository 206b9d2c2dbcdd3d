"""What a search is asked to do."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from eat.checks import number, shown, some_of, whole_number

DIRECTIONS = {"quality": "maximize", "flops": "minimize"}
"""What can be optimised -> which way."""


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """How far to search, and for what.

    Attributes:
        space: What to vary: a training's keys, each with ``low`` and ``high`` (and ``step``, or ``log: true``), or with
            ``choices``. Between whole bounds only whole numbers are tried.
        optimize: [quality,flops] for the cheapest operating point that is good enough, or [quality] for full depth.
        trials: Trainings of the study in all, those of earlier calls among them.
        max_drop: With flops, a trial counts as its cheapest operating point that loses at most so much quality against
            its own full depth.
    """

    name: str  # first part of the study's folder, <paths.runs>/search/<name>-<fingerprint>
    space: Mapping[str, Any]
    optimize: Sequence[str] = ("quality", "flops")
    trials: int = 20
    timeout: int | float | None = None  # seconds after which no further trial begins; None for no limit
    seed: int = 0  # of the sampler; the trainings have their own
    max_drop: int | float = 0.01

    def __post_init__(self) -> None:
        """Check all values; the error names the key as it is typed."""
        if not isinstance(self.name, str) or not re.fullmatch(r"[\w.+-]+", self.name):
            raise ValueError(f"search.name: expected a word, which the folder's name has, got {shown(self.name)}")
        asked = some_of("search.optimize", self.optimize, DIRECTIONS)
        if asked not in (["quality"], ["quality", "flops"]):
            raise ValueError(f"search.optimize: expected [quality,flops] or [quality], got {shown(asked)}")
        whole_number("search.trials", self.trials)
        if self.timeout is not None:
            number("search.timeout", self.timeout, above=0)
        whole_number("search.seed", self.seed, at_least=0)
        number("search.max_drop", self.max_drop, at_least=0, at_most=1)

    @property
    def counts_flops(self) -> bool:
        """True where a trial is judged by what it costs as well."""
        return "flops" in self.optimize

    @property
    def study(self) -> dict[str, Any]:
        """What makes it another study when it changes."""
        kept = {key: value for key, value in dataclasses.asdict(self).items() if key not in ("trials", "timeout")}
        return kept | {"optimize": list(self.optimize)}
