"""The stages of an evaluation: one file each, and the table that names them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from eat.benchmark.engines import EAT
from eat.checks import closest, shown, some_of
from eat.evaluation.command import listed
from eat.evaluation.stages.benchmark import Benchmark
from eat.evaluation.stages.calibrate import Calibrate
from eat.evaluation.stages.certify import Certify
from eat.evaluation.stages.plan import Plan
from eat.evaluation.stages.quality import Quality
from eat.evaluation.stages.rules import Rules
from eat.evaluation.stages.stage import Stage
from eat.evaluation.stages.sweep import Sweep
from eat.runs.finished import FinishedRun

STAGES: dict[str, Stage] = {
    "calibrate": Calibrate(),
    "certify": Certify(),  # from here on the report is about the certified point
    "rules": Rules(),
    "benchmark": Benchmark(),
    "plan": Plan(),
    "quality": Quality(),
    "sweep": Sweep(),
}
"""What an evaluation can do, in the order of work."""

ALWAYS = "quality"
"""Part of every evaluation."""

Values = Mapping[str, Mapping[str, Any]]
"""Values of settings by stage and name."""


def given_values(settings: Mapping[str, Mapping[str, Any] | None]) -> Values:
    """Check the names of stages and of their settings, naming the closest, and leave out values that are None."""
    for stage, values in settings.items():
        if stage not in STAGES:
            raise ValueError(f"{stage}: expected settings of one of {list(STAGES)}{closest(stage, STAGES)}")
        if values is not None and not isinstance(values, Mapping):
            raise ValueError(f"{stage}: expected {stage}.name=value, got {shown(values)}")
        known = [field.name for field in fields(STAGES[stage].Settings)]
        for key in values or ():
            if key not in known:
                raise ValueError(f"{stage}.{key}: expected one of {known}{closest(key, known)}")
    return {
        stage: {key: value for key, value in (settings.get(stage) or {}).items() if value is not None}
        for stage in STAGES
    }


def stages_of(engine: str) -> list[str]:
    """Return the stages that can be about an engine."""
    return [name for name, stage in STAGES.items() if stage.any_engine or engine == EAT]


def chosen_stages(stages: Sequence[str] | None, run: FinishedRun, given: Values, engine: str = EAT) -> list[str]:
    """Choose the stages and check them, before any work; they come in the order of work.

    None stands for all that the folder and the engine allow, those on request where one of their settings asks for
    them.

    Raises:
        ValueError: If one is unknown, or a setting is given that asks for one that is not among them.
        FileNotFoundError: If one needs weights, and there are none.
    """
    check_stages(stages, given, engine)
    if stages is None:
        free = [name for name in stages_of(engine) if run.has_weights or not STAGES[name].needs_weights]
        stages = [*(name for name in free if not STAGES[name].asked_by), *asked_for(given)]
    chosen = [name for name in STAGES if name in stages or name == ALWAYS]
    needing = [name for name in chosen if STAGES[name].needs_weights]
    if needing and not run.has_weights:
        raise FileNotFoundError(
            f"stages: the {needing[0]} needs weights, and {run.folder} has no model/ (results are kept without them); "
            "train again, or use stages=[quality,sweep], which shows the times that were measured before"
        )
    return chosen


def check_used(chosen: Collection[str], given: Values, thresholds: Sequence[float] | None, compile: bool) -> None:
    """Refuse what was asked for, and no chosen stage reads: settings other than the defaults, and the rest.

    Raises:
        ValueError: Naming it, and what would read it.
    """
    stages = list(dict.fromkeys(chosen))
    for stage in STAGES.keys() - set(stages):
        defaults = {field.name: field.default for field in fields(STAGES[stage].Settings)}
        for key, value in given[stage].items():
            if listed(value) != listed(defaults[key]):
                asked_by = " or ".join(f"{stage}.{name}=..." for name in STAGES[stage].asked_by)
                raise ValueError(
                    f"{stage}.{key}: got {shown(value)}, but {stage} is not among the stages {stages}; add it to "
                    f"stages=[...]{f', or give {asked_by}' if asked_by else ''}"
                )
    if thresholds is not None and not {"sweep", "certify"} & set(stages):
        raise ValueError(f"thresholds: expected sweep or certify among the stages, got {stages}")
    timing = [name for name, stage in STAGES.items() if stage.needs_weights]
    if compile and not set(timing) & set(stages):
        raise ValueError(f"compile: expected some of {timing} among the stages, which time the model, got {stages}")


def asked_for(given: Values) -> list[str]:
    """Return the stages that one of the settings asks for."""
    return [name for name, stage in STAGES.items() if not given[name].keys().isdisjoint(stage.asked_by)]


def check_stages(stages: Any, given: Values, engine: str = EAT) -> None:
    """Check the names of the stages, and that those which settings ask for are among them.

    Raises:
        ValueError: If one is unknown or missing, or cannot be about the engine.
    """
    if stages is not None:
        some_of("stages", stages, STAGES)
    wanted = [name for name in STAGES if name in (stages or ()) or name in asked_for(given)]
    if others := [name for name in wanted if name not in stages_of(engine)]:
        raise ValueError(
            f"stages: {others[0]} is about all engines at once, got engine={engine}; leave engine out for it, or use "
            f"some of {stages_of(engine)}"
        )
    if stages is None:
        return
    for name in asked_for(given):
        if name not in stages:
            raise ValueError(
                f"stages: a budget ({name}.*) is given, expected {name!r} among the stages, got {list(stages)}"
            )


def build_settings(stage: str, values: Mapping[str, Any]) -> Any:
    """Build the settings of a stage, which checks them; those without a default must be there."""
    settings = STAGES[stage].Settings
    for field in fields(settings):
        if field.default is MISSING and field.default_factory is MISSING and field.name not in values:
            raise ValueError(f"{stage}.{field.name}: expected {field.metadata.get('expected', 'a value')}, got none")
    return settings(**values)
