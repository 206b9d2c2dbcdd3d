"""Evaluate a finished run: `train.py` ends with this, and `evaluate.py` does nothing else."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from eat.benchmark.agreement import compare_with_replay
from eat.benchmark.latency.plan import PlanSettings, make_plan
from eat.benchmark.results import read_benchmark, timed_exits, write_benchmark
from eat.benchmark.run import BenchmarkSettings, draw_examples, run_benchmark
from eat.benchmark.shortcuts import find_shortcuts
from eat.benchmark.tokenizing import encoded_examples, texts_of
from eat.data import TextDataModule
from eat.evaluation.calibration import CalibrationSettings
from eat.evaluation.calibration import calibrate as calibrate_heads
from eat.evaluation.certify.certificate import CertifySettings, make_certificate
from eat.evaluation.certify.store import caveat, fallback, store_certificate
from eat.evaluation.criteria import Comparison, compare_criteria
from eat.evaluation.findings import Findings, analyse
from eat.evaluation.report.calibration import write_calibration
from eat.evaluation.report.certificate import card_section, write_certificate
from eat.evaluation.report.plan import read_latency, write_plan
from eat.evaluation.report.write import Report, write_report
from eat.evaluation.stages import chosen_stages, known_settings
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.runs.data import load_data
from eat.runs.finished import FinishedRun
from eat.runs.variants import with_pruner
from eat.traces.record import record_traces
from eat.traces.run_traces import RunTraces, need_current, read_current, read_traces

log = logging.getLogger(__name__)


def evaluate_run(
    run: str | Path,
    *,
    exit: Mapping[str, Any] | None = None,
    pruner: Mapping[str, Any] | None = None,
    stages: Sequence[str] | None = None,
    benchmark: Mapping[str, Any] | None = None,
    plan: Mapping[str, Any] | None = None,
    certify: Mapping[str, Any] | None = None,
    calibrate: Mapping[str, Any] | None = None,
    thresholds: Sequence[float] | None = None,
    baseline_run: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    fresh: bool = False,
    compile: bool = False,
) -> Report:
    """Measure what a run is worth and what it costs; write its report and log one table.

    Traces are made when the weights are newer than they are, and read otherwise; a folder without weights is evaluated
    from its traces and from the times measured before.

    Args:
        run: The run folder.
        exit: Another operating point of the same weights: arguments that replace the run's own, or another ``name``
            with its arguments. None, or what the run has, reports into ``report/``, another into ``report/<name>/``.
        pruner: Other pruning of the same weights, likewise; it gets a run folder of its own beside the run's, which
            ``certify.runs`` may name.
        stages: Out of `eat.evaluation.stages.STAGES`; None for all that the folder allows,
            those on request only where one of their settings is given.
        benchmark: Keys of `BenchmarkSettings`.
        plan: Keys of `PlanSettings`: a budget in, the most accurate operating point that fits it out.
        calibrate: Keys of `CalibrationSettings`: a temperature for heads that are too sure or not sure enough.
        certify: Keys of `CertifySettings`: a budget in, the cheapest operating point that is certified to keep it out,
            written into the saved model, which loads at it from then on.
        thresholds: Values to sweep, and to certify, instead of the default ones.
        baseline_run: A finished dense run on the same data, which quality is compared with as well.
        data_root: Folder of local data sets, instead of the one that the run used.
        device: A torch device, or "auto" for the first GPU where there is one.
        fresh: Make the traces anew.
        compile: Measure our encoder with compiled blocks; they are compiled in the warm-up.

    Raises:
        FileNotFoundError: If the folder, or a part of it that is needed, is missing; the message says how to go on.
        ValueError: If a stage, an exit or a setting is unknown or out of range.
    """
    settings = BenchmarkSettings(**known_settings("benchmark", BenchmarkSettings, benchmark or {}))
    scaled = known_settings("calibrate", CalibrationSettings, calibrate or {})
    calibrating = CalibrationSettings(**scaled)
    budgeted = known_settings("plan", PlanSettings, plan or {})
    certified = known_settings("certify", CertifySettings, certify or {})
    finished = FinishedRun(run)
    other_pruner = {key: value for key, value in (pruner or {}).items() if value is not None}
    finished = with_pruner(finished, other_pruner) if other_pruner else finished
    wanted = chosen_stages(stages, finished, {*scaled, *budgeted, *certified})
    planning = PlanSettings(**budgeted) if "plan" in wanted else None
    certifying = _certify_settings(certified) if "certify" in wanted else None
    own = finished.exit.changed(exit or {})
    data: TextDataModule | None = None
    current = None if fresh else read_current(finished)
    if current is None:
        model, data = finished.load_model(device), load_data(finished, data_root)
        record_traces(finished, model, data)
    traces = current or read_traces(finished)
    calibration = None
    if "calibrate" in wanted:
        calibration = calibrate_heads(finished, traces, calibrating)
        traces = read_traces(finished)
    folder = finished.folder / "report"
    if own != finished.exit:
        folder = folder / own.slug
    if "benchmark" in wanted:
        timed = _live_exits(own, settings)
    else:
        timed = timed_exits(read_benchmark(folder, traces.fingerprint))
    findings = analyse(
        traces,
        own,
        baseline=None if baseline_run is None else read_traces(FinishedRun(baseline_run)),
        thresholds=thresholds,
        always=timed,
        swept="sweep" in wanted,
    )
    if "benchmark" in wanted:
        data = data or load_data(finished, data_root)
        _benchmark(finished, _timed_model(finished, device, compile), traces, findings, timed, settings, data, folder)
    report = write_report(
        finished,
        findings,
        folder,
        baseline=None if baseline_run is None else Path(baseline_run).name,
        comparison=_compare(traces, folder) if "sweep" in wanted else None,
    )
    if calibration is not None:
        write_calibration(folder, calibration, traces.reported.raw)
    if planning is not None:
        data = data or load_data(finished, data_root)
        _plan(finished, _timed_model(finished, device, compile), traces, planning, data, folder)
    if certifying is not None:
        _certify(finished, traces, certifying, thresholds, folder)
    return report


def _timed_model(run: FinishedRun, device: str, compile: bool) -> AdaptiveForSequenceClassification:
    model = run.load_model(device)
    if compile:
        model.compile_blocks()
    return model


def _benchmark(
    run: FinishedRun,
    model: AdaptiveForSequenceClassification,
    traces: RunTraces,
    findings: Findings,
    exits: Sequence[OperatingPoint],
    settings: BenchmarkSettings,
    data: TextDataModule,
    folder: Path,
) -> None:
    """Measure on a random part of the main split and write what came out."""
    index = draw_examples(len(findings.traces[findings.main]), settings)
    log.info("benchmark: at most %d examples of %s, %d rounds", len(index), findings.main, settings.rounds)
    shortcuts = find_shortcuts(model, traces, settings.shortcut_runs, str(model.device))
    measured = run_benchmark(
        model,
        encoded_examples(data, findings.main, index.tolist()),
        exits,
        settings,
        shortcuts={shortcut.name: shortcut.model for shortcut in shortcuts},
        texts=texts_of(data, findings.main, index.tolist()),
    )
    write_benchmark(folder, compare_with_replay(measured, traces, index, shortcuts), run.fingerprint())


def _compare(traces: RunTraces, folder: Path) -> Comparison | None:
    """Set all criteria side by side; with predicted latency where a plan was made before."""
    held_out = traces.get("threshold")
    if held_out is None:
        log.info("sweep: no threshold split to choose on, so criteria are not compared (data.threshold_examples)")
        return None
    return compare_criteria(held_out, traces.reported, read_latency(folder, traces.reported))


def _plan(
    run: FinishedRun,
    model: AdaptiveForSequenceClassification,
    traces: RunTraces,
    settings: PlanSettings,
    data: TextDataModule,
    folder: Path,
) -> None:
    """Choose on the threshold split, measure live, and write what came out."""
    held_out = traces.need("threshold", "plan")
    log.info("plan: calibrating at batch size %d on texts of the threshold split", settings.batch_size)
    plan = make_plan(
        model,
        held_out,
        traces.reported,
        partial(encoded_examples, data, held_out.split),
        settings,
    )
    write_plan(folder, plan, run=run.name, fingerprint=run.fingerprint())


def _certify_settings(values: Mapping[str, Any]) -> CertifySettings:
    if "max_drop" not in values:
        raise ValueError("certify.max_drop: expected the largest loss to certify, such as 0.01 for one point, got none")
    return CertifySettings(**values)


def _certify(
    run: FinishedRun,
    traces: RunTraces,
    settings: CertifySettings,
    thresholds: Sequence[float] | None,
    folder: Path,
) -> None:
    """Certify an operating point, write what came out, and let the saved model run at it."""
    others = {other.name: other for other in map(FinishedRun, settings.runs)}
    if len({run.name, *others}) != 1 + len(settings.runs):
        raise ValueError(f"certify.runs: expected further runs with names of their own, got {list(settings.runs)}")
    all_traces = {run.name: traces} | {name: need_current(other, "certify.runs") for name, other in others.items()}
    result = make_certificate(all_traces, settings, thresholds)
    stored = False
    if result["certificate"]:
        chosen = others.get(result["certificate"]["run"], run)
        result["certificate"] |= {"caveat": caveat(chosen)}
        stored = chosen.has_weights
        if stored:
            result["certificate"] |= fallback(run, chosen)
            result["certificate"] = store_certificate(chosen, result["certificate"], card_section(result))
    write_certificate(folder, result, stored=stored)


def _live_exits(own: OperatingPoint, settings: BenchmarkSettings) -> list[OperatingPoint]:
    """List the operating points to measure live: full depth, the chosen thresholds, the own one; each once."""
    swept = () if own.threshold is None else own.at(settings.thresholds)
    return list(dict.fromkeys([FULL_DEPTH, *swept, own]))
