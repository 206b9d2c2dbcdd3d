"""Checks of single values: each returns the value, or raises a ValueError that names it, in one line.

Numbers may be NumPy's; what is returned is Python's.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

Limit = int | float | None


def whole_number(name: str, value: Any, at_least: int = 1) -> int:
    """Return an integer of ``at_least`` or more, NumPy's among them; True and 1.0 are none."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < at_least:
        raise ValueError(f"{name}: expected an integer of {at_least} or more, got {value!r}")
    return int(value)


def number(
    name: str, value: Any, *, at_least: Limit = None, at_most: Limit = None, above: Limit = None, below: Limit = None
) -> float:
    """Return a finite number within the limits, NumPy's among them, as a float; True is none."""
    low, high = -math.inf if at_least is None else at_least, math.inf if at_most is None else at_most
    fits = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not (fits and low <= value <= high and (above is None or value > above) and (below is None or value < below)):
        raise ValueError(f"{name}: expected a number{_interval(at_least, at_most, above, below)}, got {value!r}")
    return float(value)


def plain(value: Any) -> Any:
    """Return an option as JSON has it: numbers and arrays of NumPy or torch, also within lists, as Python's."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return type(value)(map(plain, value)) if type(value) in (list, tuple) else value


def one_of(name: str, value: Any, known: Iterable[str]) -> str:
    """Return a value that is among the known ones; else the message lists them and names the closest."""
    known = sorted(known)
    if not isinstance(value, str) or value not in known:
        hint = closest(value, known) if isinstance(value, str) else ""
        raise ValueError(f"{name}: expected one of {known}, got {value!r}{hint}")
    return value


def closest(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean ...?)`` with the known word that is most like this one, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def true_or_false(name: str, value: Any) -> bool:
    """Return True or False; 0, 1 and "true" are neither."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected true or false, got {value!r}")
    return value


def _interval(at_least: Limit, at_most: Limit, above: Limit, below: Limit) -> str:
    low, high = at_least if above is None else above, at_most if below is None else below
    if low is not None and high is not None:
        return f" in {'[' if above is None else '('}{low:g}, {high:g}{']' if below is None else ')'}"
    if low is not None:
        return f" of {low:g} or more" if above is None else f" above {low:g}"
    if high is not None:
        return f" of {high:g} or less" if below is None else f" below {high:g}"
    return ""
