"""Checks of single values: each returns the value, or raises a ValueError that names it, in one line.

Numbers may be NumPy's; what is returned is Python's.
"""

import difflib
import errno
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

Limit = int | float | None
MAX_SHOWN = 120  # characters of a value in a message
MOST_THREADS = 1024  # more than any machine has use for, and fewer than end a process


def duration(seconds: float) -> str:
    """Write a duration as people say it: 40 s, 12 min, 3 h 5 min."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def shown(value: Any) -> str:
    """Write a value for a message, on one line and not too long."""
    text = " ".join(line.strip() for line in repr(value).splitlines())
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 4]} ..."


def one_line(text: Any) -> str:
    """Write a text, or an error's message, on one line: each run of spaces and line breaks becomes a space."""
    return " ".join(str(text).split())


def as_typed(text: str) -> str:
    """Write a value as a command line takes it after ``=``: in quotes, unless it is a word or a path."""
    return text if re.fullmatch(r"[\w./-]{1,200}", text) else shown(text)


def whole_number(name: str, value: Any, at_least: int = 1, at_most: int | None = None) -> int:
    """Return an integer within the limits, NumPy's among them; True and 1.0 are none."""
    fits = isinstance(value, Integral) and not isinstance(value, bool)
    if not fits or value < at_least or (at_most is not None and value > at_most):
        limits = f"{at_least} or more" if at_most is None else f"{at_least} to {at_most}"
        raise ValueError(f"{name}: expected an integer of {limits}, got {shown(value)}")
    return int(value)


def number_of_texts(trained: int | None, given: int, second: str, extra: str) -> None:
    """Refuse one text where a model was trained on pairs, and a pair where it was trained on one.

    A model that does not say (None) takes both. ``second`` is what is wanted for a pair, ``extra`` what came too much.
    """
    if trained not in (None, given):
        wanted, got, texts = (second, "none", "pairs of texts") if given == 1 else ("none", extra, "one text at a time")
        raise ValueError(f"text_pair: expected {wanted}, got {got}: the model was trained on {texts}")


def thread_count(name: str, value: Any, at_least: int = 1) -> int:
    """Return a number of threads, or of processes, that can be started: a system ends a program that wants more."""
    return whole_number(name, value, at_least, MOST_THREADS)


def number(
    name: str, value: Any, *, at_least: Limit = None, at_most: Limit = None, above: Limit = None, below: Limit = None
) -> float:
    """Return a finite number within the limits, NumPy's among them, as a float; True is none."""
    low, high = -math.inf if at_least is None else at_least, math.inf if at_most is None else at_most
    fits = isinstance(value, Real) and not isinstance(value, bool) and _is_finite(value)
    if not (fits and low <= value <= high and (above is None or value > above) and (below is None or value < below)):
        raise ValueError(f"{name}: expected a number{_interval(at_least, at_most, above, below)}, got {shown(value)}")
    return float(value)


def plain(value: Any) -> Any:
    """Return an option as JSON has it: numbers of any kind and arrays of NumPy or torch, also within lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Real) and not isinstance(value, int | float):  # such as a fraction
        return int(value) if isinstance(value, Integral) else float(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return type(value)(map(plain, value)) if type(value) in (list, tuple) else value


def folder_name(name: str, value: Any) -> str:
    """Return the name of a folder, there or not; an empty one would be the current folder."""
    if not isinstance(value, str | Path) or len(str(value).strip().splitlines()) != 1:
        raise ValueError(f"{name}: expected a folder, got {shown(value)}")
    try:
        os.lstat(value)
    except (OSError, ValueError) as error:
        if not isinstance(error, OSError) or error.errno == errno.ENAMETOOLONG:
            raise ValueError(f"{name}: expected a name that a folder can have, got {shown(value)}") from None
    return str(value)


def one_of(name: str, value: Any, known: Iterable[str]) -> str:
    """Return a value that is among the known ones; else the message lists them and names the closest."""
    known = sorted(known)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name}: expected one of {known}, got {shown(value)}{closest(value, known)}")
    return value


def several(name: str, value: Any, such_as: str) -> list[Any]:
    """Return what a list holds; a single value, a text and a mapping are none. ``such_as`` shows one that is."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise ValueError(f"{name}: expected a list, such as {such_as}, got {shown(value)}")
    return list(value)


def whole_numbers(name: str, values: Any, such_as: str = "[1,2]", at_most: int | None = None) -> list[int]:
    """Return a list of integers of 1 or more."""
    return [whole_number(name, value, at_most=at_most) for value in several(name, values, such_as)]


def some_of(name: str, values: Any, known: Iterable[str]) -> list[str]:
    """Return a list whose values are all among the known ones; else the message lists them and names the closest."""
    known = list(known)
    for value in (values := several(name, values, f"[{values if values in known else known[0]}]")):
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"{name}: expected some of {known}, got {shown(value)}{closest(value, known)}")
    return values


def closest(word: Any, known: Iterable[str]) -> str:
    """Return `` (did you mean ...?)`` with the known word that is most like this one, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1) if isinstance(word, str) else []
    return f" (did you mean {shown(close[0])}?)" if close else ""


def true_or_false(name: str, value: Any) -> bool:
    """Return True or False; 0, 1 and "true" are neither."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected true or false, got {shown(value)}")
    return value


def is_number_text(text: str) -> bool:
    """Return whether Python reads a text as a number, NaN and infinity among them."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer or a fraction beyond every float
        return False


def _interval(at_least: Limit, at_most: Limit, above: Limit, below: Limit) -> str:
    low, high = at_least if above is None else above, at_most if below is None else below
    if low is not None and high is not None:
        return f" in {'[' if above is None else '('}{low:g}, {high:g}{']' if below is None else ')'}"
    if low is not None:
        return f" of {low:g} or more" if above is None else f" above {low:g}"
    if high is not None:
        return f" of {high:g} or less" if below is None else f" below {high:g}"
    return ""
