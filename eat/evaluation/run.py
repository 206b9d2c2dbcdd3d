"""Evaluate a finished run: `train.py` ends with this, and `evaluate.py` does nothing else."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from eat.benchmark.latency.plan import PlanSettings, make_plan
from eat.benchmark.run import BenchmarkSettings, draw_examples, run_benchmark
from eat.benchmark.shortcuts import find_shortcuts
from eat.benchmark.tokenizing import texts_of
from eat.data import TextDataModule
from eat.evaluation.calibration import CalibrationSettings
from eat.evaluation.calibration import calibrate as calibrate_heads
from eat.evaluation.certify.certificate import CertifySettings, make_certificate
from eat.evaluation.certify.store import caveat, fallback, store_certificate
from eat.evaluation.criteria import Comparison, compare_criteria
from eat.evaluation.findings import FULL_DEPTH, THRESHOLD_SPLIT, Findings, analyse
from eat.evaluation.measured import compare_with_replay, read_benchmark, timed_exits, write_benchmark
from eat.evaluation.report.calibration import write_calibration
from eat.evaluation.report.certificate import card_section, write_certificate
from eat.evaluation.report.plan import read_latency, write_plan
from eat.evaluation.report.write import Report, write_report
from eat.evaluation.stages import chosen_stages, known_settings
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.runs.finished import FinishedRun
from eat.runs.variants import with_pruner
from eat.traces.record import (
    are_current,
    encoded_examples,
    load_data,
    read_raw_traces,
    read_traces,
    record_traces,
)
from eat.traces.replay import ExitSpec, label, operating_point, with_thresholds
from eat.traces.trace import Trace

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
    own = operating_point(finished.exit, exit or {})
    data: TextDataModule | None = None
    if fresh or not are_current(finished):
        model, data = finished.load_model(device), load_data(finished, data_root)
        record_traces(finished, model, data)
    calibration = calibrate_heads(finished, calibrating) if "calibrate" in wanted else None
    traces = read_traces(finished)
    folder = finished.folder / "report"
    if own != finished.exit:
        folder = folder / label(own).replace(" ", "-").replace("=", "-")
    if "benchmark" in wanted:
        timed = _live_exits(own, settings)
    else:
        timed = timed_exits(read_benchmark(folder, next(iter(traces.values())).metadata["fingerprint"]))
    findings = analyse(
        traces,
        own,
        baseline=None if baseline_run is None else read_traces(FinishedRun(baseline_run)),
        thresholds=thresholds,
        always=timed,
        sweep="sweep" in wanted,
    )
    if "benchmark" in wanted:
        data = data or load_data(finished, data_root)
        _benchmark(finished, _timed_model(finished, device, compile), findings, timed, settings, data, folder)
    report = write_report(
        finished,
        findings,
        folder,
        baseline=None if baseline_run is None else Path(baseline_run).name,
        comparison=_compare(findings, folder) if "sweep" in wanted else None,
    )
    if calibration is not None:
        write_calibration(folder, calibration, read_raw_traces(finished)[findings.main])
    if planning is not None:
        data = data or load_data(finished, data_root)
        _plan(finished, _timed_model(finished, device, compile), findings, planning, data, folder)
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
    findings: Findings,
    exits: Sequence[ExitSpec],
    settings: BenchmarkSettings,
    data: TextDataModule,
    folder: Path,
) -> None:
    """Measure on a random part of the main split and write what came out."""
    index = draw_examples(len(findings.traces[findings.main]), settings)
    log.info("benchmark: at most %d examples of %s, %d rounds", len(index), findings.main, settings.rounds)
    shortcuts = find_shortcuts(model, findings, settings.shortcut_runs, str(model.device))
    measured = run_benchmark(
        model,
        encoded_examples(data, findings.main, index.tolist()),
        exits,
        settings,
        shortcuts={shortcut.name: shortcut.model for shortcut in shortcuts},
        texts=texts_of(data, findings.main, index.tolist()),
    )
    write_benchmark(folder, compare_with_replay(measured, findings, index, shortcuts), run.fingerprint())


def _compare(findings: Findings, folder: Path) -> Comparison | None:
    """Set all criteria side by side; with predicted latency where a plan was made before."""
    if THRESHOLD_SPLIT not in findings.traces:
        log.info("sweep: no threshold split to choose on, so criteria are not compared (data.threshold_examples)")
        return None
    reported = findings.traces[findings.main]
    return compare_criteria(findings.traces[THRESHOLD_SPLIT], reported, read_latency(folder, reported))


def _plan(
    run: FinishedRun,
    model: AdaptiveForSequenceClassification,
    findings: Findings,
    settings: PlanSettings,
    data: TextDataModule,
    folder: Path,
) -> None:
    """Choose on the threshold split, measure live, and write what came out."""
    if THRESHOLD_SPLIT not in findings.traces:
        raise ValueError(
            f"plan: expected a split held out for thresholds, {run.folder} has {sorted(findings.traces)}; train with "
            "data.threshold_examples above 0"
        )
    log.info("plan: calibrating at batch size %d on texts of the threshold split", settings.batch_size)
    plan = make_plan(
        model,
        findings.traces[THRESHOLD_SPLIT],
        findings.traces[findings.main],
        partial(encoded_examples, data, THRESHOLD_SPLIT),
        settings,
    )
    write_plan(folder, {"run": run.name, "fingerprint": run.fingerprint(), **plan})


def _certify_settings(values: Mapping[str, Any]) -> CertifySettings:
    if "max_drop" not in values:
        raise ValueError("certify.max_drop: expected the largest loss to certify, such as 0.01 for one point, got none")
    return CertifySettings(**values)


def _certify(
    run: FinishedRun,
    traces: Mapping[str, Trace],
    settings: CertifySettings,
    thresholds: Sequence[float] | None,
    folder: Path,
) -> None:
    """Certify an operating point, write what came out, and let the saved model run at it."""
    others = {other.name: other for other in map(FinishedRun, settings.runs)}
    if len({run.name, *others}) != 1 + len(settings.runs):
        raise ValueError(f"certify.runs: expected further runs with names of their own, got {list(settings.runs)}")
    for other in others.values():
        if not are_current(other):
            raise ValueError(
                f"certify.runs: the traces of {other.folder} are missing or of other weights; "
                f"make them first with `python evaluate.py run={other.folder} stages=[quality]`"
            )
    all_traces = {run.name: traces} | {name: read_traces(other) for name, other in others.items()}
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


def _live_exits(own: ExitSpec, settings: BenchmarkSettings) -> list[ExitSpec]:
    """List the operating points to measure live: full depth, the chosen thresholds, the own one; each once."""
    candidates = [FULL_DEPTH, *with_thresholds(own, settings.thresholds), own]
    return [spec for i, spec in enumerate(candidates) if spec not in candidates[:i]]
