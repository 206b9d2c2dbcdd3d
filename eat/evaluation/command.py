"""The command that repeats an evaluation: only what differs from the defaults."""

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eat.exits.points import OperatingPoint
from eat.runs.finished import FinishedRun

PLAIN = re.compile(r"[\w./@+%-]+")
"""Text that Hydra reads as text without quotes."""


def repeating_command(
    run: FinishedRun,
    own: OperatingPoint,
    settings: Mapping[str, Any],
    defaults: Sequence[str],
    **options: Any,
) -> str:
    """Return the command line of `evaluate.py`; folders are named as seen from the working directory.

    Args:
        run: The run.
        own: The operating point of the report.
        settings: Settings of each chosen stage.
        defaults: The stages that these settings lead to where none is named.
        options: Further arguments of `evaluate_run`; those that are None or False are left out.
    """
    overrides = [_override("run", run.folder), *(own.overrides if own != run.exit else ())]
    if set(settings) != set(defaults):
        overrides.append(_override("stages", list(settings)))
    overrides += [_override(name, value) for name, value in options.items() if value is not None and value is not False]
    for stage, values in settings.items():
        for field in dataclasses.fields(values):
            value = getattr(values, field.name)
            if _plain(value) != _plain(field.default):
                overrides.append(_override(f"{stage}.{field.name}", value))
    return " ".join(["python evaluate.py", *map(shlex.quote, overrides)])


def _override(key: str, value: Any) -> str:
    return f"{key}={_text(value)}"


def _text(value: Any) -> str:
    """Write a value as Hydra reads it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, str | Path):
        text = str(_shown(Path(value)) if Path(value).is_dir() else value)
        return text if PLAIN.fullmatch(text) else "'" + text.replace("'", r"\'") + "'"
    return str(value)


def _shown(folder: Path) -> Path:
    """Return a folder as seen from the working directory; one elsewhere by where trainings put it."""
    resolved, here = folder.resolve(), Path.cwd()
    return resolved.relative_to(here) if resolved.is_relative_to(here) else Path("runs") / resolved.name


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
