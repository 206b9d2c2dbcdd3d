"""The stages of an evaluation: one file each, and the table that names them."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from eat.checks import closest
from eat.evaluation.stages.benchmark import Benchmark
from eat.evaluation.stages.calibrate import Calibrate
from eat.evaluation.stages.certify import Certify
from eat.evaluation.stages.plan import Plan
from eat.evaluation.stages.quality import Quality
from eat.evaluation.stages.stage import Stage
from eat.evaluation.stages.sweep import Sweep
from eat.runs.finished import FinishedRun

STAGES: dict[str, Stage] = {
    "calibrate": Calibrate(),
    "benchmark": Benchmark(),
    "plan": Plan(),
    "quality": Quality(),
    "sweep": Sweep(),
    "certify": Certify(),
}
"""What an evaluation can do, in the order of work."""

ALWAYS = "quality"
"""Part of every evaluation."""

Values = Mapping[str, Mapping[str, Any]]
"""Values of settings by stage and name."""


def given_values(settings: Mapping[str, Mapping[str, Any] | None]) -> Values:
    """Check the names of stages and of their settings, and leave out values that are None.

    Raises:
        ValueError: If there is no such stage or setting; the message names the closest.
    """
    for stage, values in settings.items():
        if stage not in STAGES:
            raise ValueError(f"{stage}: expected settings of one of {list(STAGES)}{closest(stage, STAGES)}")
        known = [field.name for field in fields(STAGES[stage].Settings)]
        for key in values or ():
            if key not in known:
                raise ValueError(f"{stage}.{key}: expected one of {known}{closest(key, known)}")
    return {
        stage: {key: value for key, value in (settings.get(stage) or {}).items() if value is not None}
        for stage in STAGES
    }


def default_stages(run: FinishedRun, given: Values) -> list[str]:
    """List what is done where no stage was named: all that the folder allows, those on request where asked for."""
    return [
        name
        for name, stage in STAGES.items()
        if (asked(name, given) if stage.asked_by else run.has_weights or not stage.needs_weights)
    ]


def asked(stage: str, given: Values) -> bool:
    """Return True where a setting was given that asks for a stage."""
    return not set(given[stage]).isdisjoint(STAGES[stage].asked_by)


def chosen_stages(stages: Sequence[str] | None, run: FinishedRun, given: Values) -> list[str]:
    """Check what was asked for, before any work.

    Args:
        stages: Names of stages; None for `default_stages`.
        run: The run.
        given: The settings that were given.

    Returns:
        The stages, in the order of work.

    Raises:
        ValueError: If one is unknown, or a setting is given that asks for one that is not among them.
        FileNotFoundError: If one needs weights, and there are none.
    """
    wanted = default_stages(run, given) if stages is None else list(stages)
    for stage in wanted:
        if stage not in STAGES:
            raise ValueError(f"stages: expected some of {list(STAGES)}, got {stage!r}{closest(stage, STAGES)}")
    for stage in STAGES:
        if asked(stage, given) and stage not in wanted:
            raise ValueError(
                f"stages: a budget ({stage}.*) is given, expected {stage!r} among the stages, got {wanted}"
            )
    chosen = [name for name in STAGES if name in wanted or name == ALWAYS]
    needing = [name for name in chosen if STAGES[name].needs_weights]
    if needing and not run.has_weights:
        raise FileNotFoundError(
            f"stages: the {needing[0]} needs weights, and {run.folder} has no model/ (results are kept without them); "
            "train again, or use stages=[quality,sweep], which shows the times that were measured before"
        )
    return chosen


def build_settings(stage: str, values: Mapping[str, Any]) -> Any:
    """Build the settings of a stage.

    Raises:
        ValueError: If one that has no default is missing, or a value is out of range.
    """
    settings = STAGES[stage].Settings
    for field in fields(settings):
        if field.default is MISSING and field.default_factory is MISSING and field.name not in values:
            raise ValueError(f"{stage}.{field.name}: expected {field.metadata.get('expected', 'a value')}, got none")
    return settings(**values)
