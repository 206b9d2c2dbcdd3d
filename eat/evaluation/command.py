"""The command that repeats a report: only what differs from the defaults.

What was measured is kept beside the report and shown again, so the command names no stage that measures.
"""

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eat.checks import is_number_text

PLAIN = re.compile(
    r"(?!(?:true|false|null|nan|[+-]?inf(?:inity)?)$)(?=.*[A-Za-z_/])[\w./@+%-]+", re.ASCII | re.IGNORECASE
)
"""Text that Hydra reads as text without quotes, and not as a number or one of its words."""


def repeating_command(options: Mapping[str, Any], points: Sequence[str], settings: Mapping[str, Any]) -> str:
    """Return the command line of `evaluate.py`; folders are named as seen from the working directory.

    ``options`` are arguments of `evaluate_run`, the run first; those that are None are left out. ``points`` are
    overrides that choose another operating point.
    """
    values = dict(options)
    for stage, chosen in settings.items():
        for field in dataclasses.fields(chosen):
            value = getattr(chosen, field.name)
            if listed(value) != listed(field.default):
                values[f"{stage}.{field.name}"] = value
    run, *overrides = [f"{key}={_text(value)}" for key, value in values.items() if value is not None]
    return " ".join(["python evaluate.py", *map(shlex.quote, [run, *points, *overrides])])


def _text(value: Any) -> str:
    """Write a value as Hydra reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, str | Path):
        return quoted(str(_seen_from_here(Path(value)) if Path(value).is_dir() else value))
    return str(value)


def quoted(text: str) -> str:
    """Write text so that Hydra reads it back: in quotes where it is not plain, a number or a word of Hydra's."""
    if PLAIN.fullmatch(text) and not is_number_text(text):
        return text
    special = re.compile(r"(\\*)('|\$\{|$)")  # a backslash stands for itself, but before these
    return "'" + special.sub(lambda found: found[1] * 2 + ("\\" + found[2] if found[2] else ""), text) + "'"


def _seen_from_here(folder: Path) -> Path:
    """Return a folder as seen from the working directory, or where it lies elsewhere its whole path."""
    resolved, here = folder.resolve(), Path.cwd().resolve()
    return resolved.relative_to(here) if resolved.is_relative_to(here) else resolved


def listed(value: Any) -> Any:
    """Return a setting so that it equals another one of the same values: a tuple as a list."""
    return list(value) if isinstance(value, list | tuple) else value
