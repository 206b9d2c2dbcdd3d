"""Benchmark: measure time and memory on this machine, beside other encoders and engines."""

import logging
from collections.abc import Iterator, Sequence

from eat.benchmark.agreement import compare_with_replay
from eat.benchmark.contenders import EnginePoint
from eat.benchmark.engines import EAT, ENGINES
from eat.benchmark.engines.engine import CALIBRATION_ROWS
from eat.benchmark.results import write_benchmark
from eat.benchmark.run import BenchmarkSettings, draw_examples, run_benchmark
from eat.benchmark.shortcuts import find_shortcuts
from eat.benchmark.tokenizing import encoded_examples, texts_of, training_rows
from eat.evaluation.certify.kept import standing_certificate
from eat.evaluation.context import Evaluation
from eat.evaluation.findings import choose
from eat.evaluation.stages.stage import Stage
from eat.exits import ThresholdExit
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.models.engines import EngineId
from eat.traces.run_traces import RunTraces, read_current

log = logging.getLogger(__name__)

MAX_DROP = 1.0
"""Points that an operating point of another engine may lose on the threshold split where none is certified."""


class Benchmark(Stage):
    """Measure full depth, some thresholds and the own operating point live, on a random part of the main split."""

    Settings = BenchmarkSettings
    needs_weights = True
    any_engine = False

    def __call__(self, run: Evaluation, settings: BenchmarkSettings) -> None:
        """Measure, compare the answers with the replayed ones, and keep what came out for the report."""
        traces, model = run.traces, run.model
        index = draw_examples(len(traces.reported), settings)
        shortcuts = find_shortcuts(model, traces, settings.shortcut_runs, str(model.device))
        served = dict(_served(run, settings))
        measured = run_benchmark(
            model,
            encoded_examples(run.data, traces.main, index.tolist()),
            list(dict.fromkeys([FULL_DEPTH, *_timed(run, settings.thresholds), run.own])),
            settings,
            shortcuts={shortcut.name: shortcut.model for shortcut in shortcuts},
            texts=texts_of(run.data, traces.main, index.tolist()),
            calibration=training_rows(run.data, CALIBRATION_ROWS),
            whole=encoded_examples(run.data, traces.main, range(len(traces.reported))),
            points=[point for point, _ in served.values()],
        )
        traces_of = {name: own for name, (_, own) in served.items()}
        run.benchmark = compare_with_replay(measured, traces, index, shortcuts, traces_of)
        write_benchmark(run.folder, run.benchmark, run.traces.fingerprint)


def _served(run: Evaluation, settings: BenchmarkSettings) -> Iterator[tuple[str, tuple[EnginePoint, RunTraces]]]:
    """Yield, for each other engine with traces of these weights, the operating point that it would serve at."""
    untraced = []
    for name, engine in ENGINES.items():
        left_out = engine.exported and not settings.onnx
        if name == EAT or not engine.traced or left_out or engine.why_not(run.model.device) is not None:
            continue
        engine_id = EngineId(name, engine.bits)
        traces = read_current(run.run, engine_id)
        if traces is None:
            untraced.append(name)
            continue
        model = run.run.load_model("cpu", certified=False)
        model.set_temperatures(run.run.temperatures(engine_id))
        yield name, (EnginePoint(name, _serving_exit(run, engine_id, traces), model), traces)
    if untraced:
        log.info(
            "benchmark: %s run with everything off alone, without traces of their own (engine=%s makes some)",
            *(", ".join(untraced), untraced[0]),
        )


def _serving_exit(run: Evaluation, engine: EngineId, traces: RunTraces) -> OperatingPoint:
    """Return where an engine would serve: the certified point.

    Where there is none it is the cheapest that loses at most `MAX_DROP` points on the threshold split, as that engine
    answers it; else the configured one.
    """
    certificate = standing_certificate(run.run, run.report / engine.name, lambda: traces, engine)
    if certificate is not None:
        return certificate.exit
    held_out = traces.get("threshold")
    chosen = [] if held_out is None else [exit for drop, exit, _ in choose(held_out, run.swept) if drop == MAX_DROP]
    return (*chosen, run.run.exit)[0]


def _timed(run: Evaluation, thresholds: Sequence[float] | None) -> Sequence[OperatingPoint]:
    """List the points of the swept exit that are timed: at these thresholds, else at its paper's, else those to choose.

    The last are those that lose at most 0, 0.5, 1 and 2 points on the threshold split.
    """
    if run.swept.threshold is None:
        return ()
    criterion, held_out = run.swept.build(), run.traces.get("threshold")
    published = criterion.published if isinstance(criterion, ThresholdExit) else ()
    if thresholds is not None or published or held_out is None:
        return run.swept.at(published if thresholds is None else thresholds)
    return [point for _, point, _ in choose(held_out, run.swept)]
