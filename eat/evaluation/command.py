"""The command that repeats a report: only what differs from the defaults.

What was measured is kept beside the report and shown again, so the command names no stage that measures.
"""

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PLAIN = re.compile(r"[\w./@+%-]+")
"""Text that Hydra reads as text without quotes."""


def repeating_command(options: Mapping[str, Any], points: Sequence[str], settings: Mapping[str, Any]) -> str:
    """Return the command line of `evaluate.py`; folders are named as seen from the working directory.

    ``options`` are arguments of `evaluate_run`, the run first; those that are None are left out. ``points`` are
    overrides that choose another operating point.
    """
    values = dict(options)
    for stage, chosen in settings.items():
        for field in dataclasses.fields(chosen):
            value = getattr(chosen, field.name)
            if _listed(value) != _listed(field.default):
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
        text = str(_seen_from_here(Path(value)) if Path(value).is_dir() else value)
        return text if PLAIN.fullmatch(text) else "'" + text.replace("'", r"\'") + "'"
    return str(value)


def _seen_from_here(folder: Path) -> Path:
    """Return a folder as seen from the working directory; one elsewhere by where trainings put it."""
    resolved, here = folder.resolve(), Path.cwd()
    return resolved.relative_to(here) if resolved.is_relative_to(here) else Path("runs") / resolved.name


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
