"""The space of a search: which settings of a training vary, and between which values."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eat.checks import closest, number, several, shown, true_or_false
from eat.evaluation.command import quoted
from eat.runs.naming import training_overrides

RANGE, CHOICES = frozenset({"low", "high", "step", "log"}), frozenset({"choices"})
SAME_DATA = ("task", "holdout", "seed", "data")
"""What decides which examples are held out, on which trials are compared ..."""
OF_TRAINING = ("data.batch_size", "data.group_by_length", "data.max_length", "data.train_examples")
"""... but for these."""
SAME_COST = ("backbone", "compression", "data.max_length")
"""What changes the dense encoder, as a part of which FLOPs are counted."""
DIGITS = 4


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers between two bounds, which are tried as well."""

    key: str
    low: int | float
    high: int | float
    step: int | float | None = None  # from low; None for any number between, or every whole one
    log: bool = False  # as many trials between 1e-5 and 1e-4 as between 1e-4 and 1e-3

    @property
    def is_whole(self) -> bool:
        """True where only whole numbers are tried."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 0))

    def holds(self, value: Any) -> bool:
        """Return True for a value that can be tried."""
        kinds = (int,) if self.is_whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not self.low <= value <= self.high:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-6

    def start(self, value: Any) -> Any:
        """Return what the study keeps of a value."""
        return value if self.is_whole else float(value)

    def suggest(self, trial: Any) -> str:
        """Let Optuna choose; return the value as it is typed."""
        if self.is_whole:
            return str(trial.suggest_int(self.key, self.low, self.high, step=self.step or 1, log=self.log))
        chosen = trial.suggest_float(self.key, float(self.low), float(self.high), step=self.step, log=self.log)
        return str(min(max(float(f"{chosen:.{DIGITS}g}"), self.low), self.high))

    @property
    def ends(self) -> Sequence[str]:
        """The outermost values, as they are typed."""
        return str(self.low), str(self.high)


@dataclasses.dataclass(frozen=True)
class Choices:
    """One of several values, or of the options of a group."""

    key: str
    ends: tuple[str, ...]  # all values, as they are typed

    def holds(self, value: Any) -> bool:
        """Return True for a value that can be tried."""
        return typed(value) in self.ends

    def start(self, value: Any) -> str:
        """Return what the study keeps of a value."""
        return typed(value)

    def suggest(self, trial: Any) -> str:
        """Let Optuna choose; return the value as it is typed."""
        return str(trial.suggest_categorical(self.key, list(self.ends)))


Space = Mapping[str, Range | Choices]
"""Key of a training -> the values that are tried, in the order of the configuration."""


def read_space(values: Any, known: Sequence[str], *, counts_flops: bool) -> Space:
    """Read a search's space, as ``search.space`` holds it: keys with dots, or mappings in mappings.

    Args:
        values: The space.
        known: Keys of a training, and the groups that it chooses from.
        counts_flops: True where trials are compared by what they cost.

    Raises:
        ValueError: Naming a key that is no training's or cannot be compared, or what is wrong with its values.
    """
    space: dict[str, Range | Choices] = {}
    for key, spec in _leaves(values):
        place = f"search.space.{key}"
        if key in space:
            raise ValueError(f"{place}: expected each key once, got it twice")
        if key not in known:
            raise ValueError(f"{place}: expected a key of a training, got {shown(key)}{closest(key, known)}")
        if not training_overrides([f"{key}="]):
            raise ValueError(
                f"{place}: expected what changes a training, which {key} does not; thresholds of the exit are replayed "
                "from every trial's traces"
            )
        if _is_about(key, SAME_DATA) and key not in OF_TRAINING:
            raise ValueError(f"{place}: expected the same held-out examples in all trials; type {key}=... instead")
        if counts_flops and _is_about(key, SAME_COST):
            raise ValueError(
                f"{place}: expected the same dense encoder in all trials, which FLOPs are compared with; search it "
                "with search.optimize=[quality]"
            )
        space[key] = _read(key, spec)
    for key in space:
        if inner := next((other for other in space if other.startswith(f"{key}.")), None):
            raise ValueError(f"search.space.{inner}: expected it without {key}, which replaces it")
    if not space:
        raise ValueError("search.space: expected at least one key to vary, such as pruner.ratio, got none")
    return space


def typed(value: Any) -> str:
    """Write a value as it is typed on the command line."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(typed, value))}]"
    return json.dumps(value)


def _leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    place = f"search.space{'.' if prefix else ''}{prefix}"
    if not isinstance(values, Mapping):
        raise ValueError(f"{place}: expected low and high, or choices, got {shown(values)}")
    for key, value in values.items():
        whole = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping) and value and not (RANGE | CHOICES).isdisjoint(value):
            yield whole, value
        else:
            yield from _leaves(value, whole)


def _read(key: str, spec: Mapping[str, Any]) -> Range | Choices:
    wanted = CHOICES if "choices" in spec else RANGE
    if unknown := sorted(set(spec) - wanted):
        raise ValueError(
            f"search.space.{key}: expected low and high with step or log, or choices alone, got {unknown[0]} as well"
            f"{closest(unknown[0], RANGE | CHOICES)}"
        )
    return _read_choices(key, spec["choices"]) if "choices" in spec else _read_range(key, **spec)


def _read_range(key: str, low: Any = None, high: Any = None, step: Any = None, log: Any = False) -> Range:
    place = f"search.space.{key}"
    lowest = {"above": 0} if true_or_false(f"{place}.log", log) else {}
    if number(f"{place}.low", low, **lowest) >= number(f"{place}.high", high, **lowest):
        raise ValueError(f"{place}: expected low below high, got {low} and {high}")
    if step is not None:
        number(f"{place}.step", step, above=0)
    if step is not None and log:
        raise ValueError(f"{place}: expected a step or log: true, got both")
    found = Range(key, low, high, step, log)
    if not found.holds(high):
        raise ValueError(f"{place}.step: expected steps that lead from {low} to {high}, got {step}")
    return found


def _read_choices(key: str, values: Any) -> Choices:
    place = f"search.space.{key}.choices"
    choices = several(place, values, "[[2,4],[1,3]]")
    if mapping := next((value for value in choices if isinstance(value, Mapping)), None):
        raise ValueError(f"{place}: expected numbers, words or lists, got {shown(mapping)}")
    if len({typed(value) for value in choices}) < max(2, len(choices)):
        raise ValueError(f"{place}: expected two values or more, each once, got {shown(choices)}")
    return Choices(key, tuple(map(typed, choices)))


def _is_about(key: str, places: Sequence[str]) -> bool:
    return any(key == place or key.startswith(f"{place}.") for place in places)
