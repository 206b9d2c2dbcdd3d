"""The stages of an evaluation: what they are called, which are made, and the settings that belong to each."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

from eat.runs.finished import FinishedRun

STAGES = ("calibrate", "quality", "sweep", "benchmark", "plan", "certify")
"""What an evaluation can do. Quality at full depth and at the own operating point is part of every one."""
ON_REQUEST = {
    "calibrate": ("apply", "max_ece"),
    "plan": ("latency_ms", "speedup"),
    "certify": ("max_drop", "veto_margin"),
}
"""Stages that are part of an evaluation only where they are named, or where one of these settings is given."""
NEED_WEIGHTS = ("benchmark", "plan")


def known_settings(group: str, settings: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Check the names of a group of settings and leave out those that are None."""
    known = [field.name for field in fields(settings)]
    for key in values:
        if key not in known:
            raise ValueError(f"{group}.{key}: expected one of {known}{_closest(key, known)}")
    return {key: value for key, value in values.items() if value is not None}


def chosen_stages(stages: Sequence[str] | None, run: FinishedRun, given: Collection[str]) -> tuple[str, ...]:
    """Check the stages; without a choice all are taken that need no weights, and the others where there are some.

    Args:
        stages: What was asked for.
        run: The run.
        given: Names of the settings that were given, of all stages.

    Raises:
        ValueError: If one is unknown, or a setting is given that asks for one that is not among them.
        FileNotFoundError: If one was asked for that needs weights, and there are none.
    """
    asked = [stage for stage, settings in ON_REQUEST.items() if not set(given).isdisjoint(settings)]
    if stages is None:
        free = [s for s in STAGES if s not in ON_REQUEST and (run.has_weights or s not in NEED_WEIGHTS)]
        stages = [*free, *asked]
    for stage in stages:
        if stage not in STAGES:
            raise ValueError(f"stages: expected some of {list(STAGES)}, got {stage!r}{_closest(stage, STAGES)}")
    for stage in asked:
        if stage not in stages:
            raise ValueError(
                f"stages: a budget ({stage}.*) is given, expected {stage!r} among the stages, got {list(stages)}"
            )
    needing = [stage for stage in NEED_WEIGHTS if stage in stages]
    if needing and not run.has_weights:
        raise FileNotFoundError(
            f"stages: the {needing[0]} needs weights, and {run.folder} has no model/ (results are kept without them); "
            "train again, or use stages=[quality,sweep], which shows the times that were measured before"
        )
    return tuple(stages)


def _closest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
