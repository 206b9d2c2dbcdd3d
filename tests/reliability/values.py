"""Values that a user may give for an option: legal, out of range, of another type, and NumPy's."""

from __future__ import annotations

import dataclasses
import decimal
import fractions
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

NEVER_NUMBERS: tuple[Any, ...] = ("", "abc", "0.3", b"1", True, None, [], {}, {"a": 1}, (), object, math.nan, 1j)
"""Taken for no number."""
FOREIGN: tuple[Callable[[Any], Any], ...] = (
    np.float32,
    np.float64,
    np.int64,
    np.uint8,
    np.asarray,
    lambda value: np.asarray([value]),
    torch.tensor,
    fractions.Fraction,
    decimal.Decimal,
    np.bool_,
)
"""A number in other types: taken as it is meant, or refused."""
ANYTHING: tuple[Any, ...] = (
    *NEVER_NUMBERS,
    *(-1, 0, 1, 2, 3, 10**9, 10**30, -0.0, 0.5, 1.5, 1e308, -1e-320, math.inf, -math.inf),
    *("cls", "mean", "none", "null", "../x", "a b", "\0", "ü" * 300, Path("x"), {1, 2}, range(2), iter(()), [None]),
    *([1, 2], [0.5, "x"], [[1]], [True], ["cls"], {"name": "full"}, {"name": None}, slice(1), np.nan, np.zeros((2, 2))),
)
PLAIN: tuple[Any, ...] = (
    *("", "abc", "0.3", True, False, None, [], {}, {"a": 1}, math.nan, -1, 0, 1, 2, 3, 10**9, 10**30, -0.0, 0.5, 1.5),
    *(1e308, math.inf, -math.inf, "cls", "none", "null", "../x", "a b", "ü" * 300, [None], [1, 2], [0.5, "x"], [[1]]),
    *([True], ["cls"], {"name": "full"}, {"name": None}, {"seconds": "x"}, ["quality", "quality"], "cuda:99", [-1]),
)
"""Anything that YAML and a command line can say."""


@dataclasses.dataclass(frozen=True)
class Argument:
    """What may be drawn for an argument."""

    legal: Callable[[random.Random], Any]
    illegal: Sequence[Any]  # each of which must be refused


def number(low: float, high: float, *illegal: Any, whole: bool = False, optional: bool = False) -> Argument:
    """Take a number within limits."""

    def legal(draw: random.Random) -> Any:
        if optional and draw.random() < 0.3:
            return None
        if whole:
            return draw.randint(int(low), int(high))
        return draw.choice([low, high, draw.uniform(low, high), draw.uniform(low, high)])

    wrong = [value for value in NEVER_NUMBERS if not (optional and value is None)]
    return Argument(legal, [*wrong, math.inf, -math.inf, *illegal, *([1.5, "1"] if whole else [])])


def one_of(*names: str) -> Argument:
    """Take one of some names."""
    wrong = ["", "CLS", "nope", names[0].upper(), names[0] + " ", None, 0, True, [names[0]], {"name": names[0]}, b"x"]
    return Argument(lambda draw: draw.choice(names), wrong)


def several(one: Argument, *, least: int = 0, most: int = 3, ascending: bool = False) -> Argument:
    """Take a list."""

    def legal(draw: random.Random) -> Any:
        values = [one.legal(draw) for _ in range(draw.randint(least, most))]
        return sorted(set(values)) if ascending else values

    return Argument(legal, ["abc", None, 3.5, {"a": 1}, [None], [[1]], *([value] for value in one.illegal)])


def foreign(draw: random.Random, value: Any) -> Any:
    """Return a value in a foreign type where there is one for it."""
    if isinstance(value, list):
        return draw.choice([np.asarray, tuple, torch.tensor, lambda v: [np.float32(x) for x in v]])(value)
    return draw.choice(FOREIGN)(value)
