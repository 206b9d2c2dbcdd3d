"""Evaluate a finished run: `train.py` ends with this, and `evaluate.py` does nothing else."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from eat.benchmark.engines import EAT, traced_engine
from eat.checks import number, several, shown, true_or_false
from eat.evaluation.command import repeating_command
from eat.evaluation.context import Evaluation
from eat.evaluation.report.summary import Report, write_report
from eat.evaluation.stages import (
    ALWAYS,
    STAGES,
    Values,
    asked_for,
    build_settings,
    check_stages,
    check_used,
    chosen_stages,
    given_values,
    stages_of,
)
from eat.machine import device_name
from eat.models.engines import EngineId
from eat.runs.data import compare_local_data
from eat.runs.finished import FinishedRun
from eat.runs.lock import locked_together
from eat.runs.variants import with_pruner
from eat.traces.predictions import write_predictions

log = logging.getLogger(__name__)


def evaluate_run(
    run: str | Path,
    *,
    exit: Mapping[str, Any] | None = None,
    pruner: Mapping[str, Any] | None = None,
    stages: Sequence[str] | None = None,
    thresholds: Sequence[float] | None = None,
    baseline_run: str | Path | None = None,
    data_root: str | Path | None = None,
    data_cache_dir: str | Path | None = None,
    data_train: str | Path | None = None,
    data_validation: str | Path | None = None,
    data_test: str | Path | None = None,
    device: str = "auto",
    fresh: bool = False,
    compile: bool = False,
    predictions: bool = False,
    figures: bool = True,
    engine: str = EAT,
    **settings: Mapping[str, Any] | None,
) -> Report:
    """Measure what a run is worth and what it costs; write its report and log one table.

    Traces are made when the weights are newer than they are, and read otherwise; a folder without weights is evaluated
    from its traces and from the times measured before.

    Args:
        run: The run folder.
        exit: Another operating point of the same weights: arguments that replace the configured ones, or another
            ``name`` with its arguments, reported into ``report/<name>/``. None is the run's own: the certified one
            where its model carries a certificate, else the configured one.
        pruner: Other pruning of the same weights, likewise; it gets a run folder of its own beside the run's, which
            ``certify.runs`` may name.
        stages: Some of calibrate, certify, rules, benchmark, plan, quality, sweep; None for all that the folder allows,
            those on request only where one of their settings is given.
        thresholds: Values to sweep, and to certify, instead of the default ones: of the criterion of ``exit``, or of
            the configured one.
        baseline_run: A finished dense run on the same data, which quality is compared with as well.
        data_root: Folder of local data sets, instead of the one that the run used; other data than the training's are
            refused before anything of the run is overwritten.
        data_cache_dir: Where prepared data are kept; None for ``EAT_CACHE_DIR``, then a folder in the user's cache.
        data_train: The training file of ``task=file``, where it has moved.
        data_validation: Its validation file, likewise.
        data_test: Its test file, likewise.
        device: A torch device, or "auto" for the first GPU where there is one.
        fresh: Make the traces anew.
        compile: Measure our encoder with compiled blocks; they are compiled in the warm-up.
        predictions: Write what is predicted at the report's operating point for each example of every split that is not
            trained on, as ``predictions/<split>.parquet`` in the report.
        figures: Draw the report's figures, which is most of its time where traces are there.
        engine: What runs the weights: ``eat``, ``eat_int8``, ``eat_bf16``, ``eat_onnx``, ``eat_onnx_int8`` or
            ``eat_onnx_static``. Another than eat's own has traces, temperatures and certificates of its own, reported
            into ``report/<engine>/``; benchmark and plan are eat's own.
        settings: The stages' settings, by stage and name, such as ``benchmark={"rounds": 3}``; None for the default.

    Raises:
        FileNotFoundError: If the folder, or a part of it that is needed, is missing; the message says how to go on.
        ValueError: If a stage, an exit or a setting is unknown or out of range, or the data are not the training's.
    """
    given, baseline = check_options(
        stages=stages,
        thresholds=thresholds,
        baseline_run=baseline_run,
        device=device,
        fresh=fresh,
        compile=compile,
        predictions=predictions,
        figures=figures,
        engine=engine,
        **settings,
    )
    if stages is not None and not stages:
        raise ValueError(
            f"stages: expected some of {list(STAGES)}, or null for what needs no more than is there, got []"
        )
    finished = FinishedRun(run)
    ran_by = _engine(engine, device)
    chosen = chosen_stages(stages, finished, given, engine)
    check_used(chosen, given, thresholds, compile)
    built = {stage: build_settings(stage, given[stage]) for stage in chosen}
    changes = {key: value for key, value in (exit or {}).items() if value is not None}
    asked = finished.exit.changed(changes) if changes else None
    other_pruner = {key: value for key, value in (pruner or {}).items() if value is not None}
    finished = with_pruner(finished, other_pruner) if other_pruner else finished
    kept = [stage for stage in chosen if not STAGES[stage].needs_weights]
    places = {"root": data_root, "cache_dir": data_cache_dir}
    places |= {"train": data_train, "validation": data_validation, "test": data_test}
    evaluation = Evaluation(
        finished,
        asked,
        built,
        thresholds=thresholds,
        baseline_run=baseline,
        data_places=places,
        device=device,
        fresh=fresh,
        compile=compile,
        engine=ran_by,
    )
    others = []
    if "certify" in built:  # these are read, and one of them may get the certificate
        others = [FinishedRun(other, "certify.runs") for other in built["certify"].runs]
        reference = built["certify"].reference
        others += [] if reference is None else [FinishedRun(reference, "certify.reference")]
    with locked_together([finished.folder, *(other.folder for other in others)]):
        FinishedRun(finished.folder)  # whoever held it before may have set it aside
        # Other data than the training's are refused before anything is written.
        if len(kept) < len(chosen) or any(place is not None for place in places.values()):
            evaluation.data  # noqa: B018
        else:
            compare_local_data(finished)
        evaluation.check()
        evaluation.command = repeating_command(
            {
                "run": finished.folder,
                "engine": None if ran_by.is_eat else ran_by.name,
                "baseline_run": baseline_run,
                "stages": stages and kept,
                "thresholds": thresholds,
                "predictions": predictions or None,
                "figures": None if figures else False,
            },
            asked.overrides if asked is not None and evaluation.folder != evaluation.report else (),
            {stage: built[stage] for stage in kept},
        )
        sections = {}
        for stage in chosen:
            section = STAGES[stage](evaluation, built[stage])
            if section is not None:
                section.write(evaluation.folder, figures=figures)
                sections[stage] = section
        report = write_report(evaluation, sections, figures=figures)
        if predictions:
            _write_predictions(evaluation)
        return report


def _write_predictions(evaluation: Evaluation) -> None:
    folder = evaluation.folder / "predictions"
    for split, trace in evaluation.traces.splits.items():
        write_predictions(trace, evaluation.own, folder / f"{split}.parquet")
    log.info("predictions: %s", folder)


def check_options(
    *,
    stages: Sequence[str] | None = None,
    thresholds: Sequence[float] | None = None,
    baseline_run: str | Path | None = None,
    device: str = "auto",
    fresh: bool = False,
    compile: bool = False,
    predictions: bool = False,
    figures: bool = True,
    engine: str = EAT,
    **settings: Mapping[str, Any] | None,
) -> tuple[Values, FinishedRun | None]:
    """Check options of `evaluate_run` before there is a run to evaluate: a training does, before its first step.

    Returns:
        The settings that were given, by stage, and the baseline's run.

    Raises:
        FileNotFoundError: If the baseline is no finished run.
        ValueError: Naming the option that is unknown, of another type or out of range.
    """
    given = given_values(settings)
    device_name("device", device)
    _engine(engine, device)
    check_stages(stages, given, engine)
    usual = [stage for stage in stages_of(engine) if not STAGES[stage].asked_by]
    chosen = stages if stages is not None else usual + asked_for(given)
    for stage in chosen:
        build_settings(stage, given[stage])
    for value in () if thresholds is None else several("thresholds", thresholds, "[0.8,0.9]"):
        number("thresholds", value, at_least=0, at_most=1)
    for name, flag in (("fresh", fresh), ("compile", compile), ("predictions", predictions), ("figures", figures)):
        true_or_false(name, flag)
    asked = {"predictions": predictions, "compile": compile, "thresholds": thresholds}
    if unread := [name for name, value in asked.items() if value and not chosen]:
        raise ValueError(f"{unread[0]}: got {shown(asked[unread[0]])}, but stages=[] evaluates nothing")
    read = [*chosen, ALWAYS] if chosen else [*STAGES]  # settings of a stage may stand in what is composed
    check_used(read, given, thresholds, compile)
    return given, None if baseline_run is None else FinishedRun(baseline_run, "baseline_run")


def _engine(name: str, device: str) -> EngineId:
    return traced_engine(name, torch.device("cpu" if device == "auto" else device))
