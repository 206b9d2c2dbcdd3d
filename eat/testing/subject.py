"""What a check is given, a part by name, class, function or instance, as something that can be built again."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from eat.registry import Family, build_part
from eat.testing.checked import Checked

Arguments = Mapping[str, Any]
Refused = Mapping[str, Sequence[Any]]
"""Argument -> values that the part must refuse."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A part under check."""

    word: str  # what errors call the family: "pruner" in "pruner.ratio: ..."
    family: Family[Any]
    name: str  # by which the family knows it, perhaps for the time of the check alone
    arguments: Arguments

    @property
    def spec(self) -> dict[str, Any]:
        """The part as ``{"name": ..., **arguments}``."""
        return {"name": self.name, **self.arguments}

    def build(self) -> Any:
        """Build it anew."""
        return build_part(self.word, self.family, self.spec)

    def check_refusals(self, checked: Checked, refused: Refused | None) -> None:
        """Expect that wrong types, and the values in ``refused``, are refused in one line that names the argument."""
        constructor = self.family[self.name]
        for name, parameter in inspect.signature(constructor).parameters.items():
            sample = self.arguments.get(name, parameter.default)
            for value in [*_ill_typed(sample), *(refused or {}).get(name, ())]:
                fact = f"{self.word}.{name}={value!r} is refused in one line that names the argument"
                try:
                    construct(constructor, {**self.arguments, name: value})
                except ValueError as error:
                    said = str(error)
                    checked.expect(f"{self.word}.{name}" in said and "\n" not in said, fact, fact, said)
                except Exception as error:
                    checked.fail(fact, "a ValueError", f"{type(error).__name__}: {error}")
                else:
                    checked.fail(fact, "a ValueError", "no error")


@contextmanager
def subject_of(word: str, family: Family[Any], part: Any, arguments: Arguments | None) -> Iterator[Subject]:
    """Know what a check is given by a name, for the time of the check.

    Args:
        word: What errors call the family.
        family: Its table.
        part: Its name; or its class, or a function, which ``arguments`` go to; or an instance.
        arguments: Of its constructor.
    """
    arguments = dict(arguments or {})
    if isinstance(part, Mapping):
        arguments, part = {**{key: value for key, value in part.items() if key != "name"}, **arguments}, part["name"]
    if isinstance(part, str):
        yield Subject(word, family, family.checked(f"{word}.name", part), arguments)
        return
    is_maker = inspect.isclass(part) or inspect.isroutine(part) or isinstance(part, partial)
    make: Callable[..., Any] = part if is_maker else lambda: copy.deepcopy(part)
    made = part if inspect.isclass(part) else type(part if not is_maker else make(**arguments))
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", made.__name__).lower()
    own = next((known for known, other in family.items() if other is part), None)
    if own is not None or (name in family and family[name] is part):
        yield Subject(word, family, own or name, arguments)
        return
    while name in family:
        name += "_checked"
    with family.lent(name, make):
        yield Subject(word, family, name, arguments)


def _ill_typed(sample: Any) -> list[Any]:
    """List values that are of no type like the sample's, which is a default or an argument given."""
    if isinstance(sample, str):
        return [12345, ["nonsense"]]
    if isinstance(sample, int | float) and not isinstance(sample, bool):
        return ["nonsense", math.nan, {"nonsense": 1}]
    return ["nonsense", {"nonsense": 1}]


def construct(constructor: Any, arguments: Arguments) -> Any:
    """Construct as outside of tests: checks by annotation that run there must not answer in the part's place."""
    if not inspect.isclass(constructor):
        return inspect.unwrap(constructor)(**arguments)
    made = constructor.__new__(constructor)
    inspect.unwrap(constructor.__init__)(made, **arguments)
    return made
