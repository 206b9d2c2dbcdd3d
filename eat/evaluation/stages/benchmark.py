"""Benchmark: measure time and memory on this machine, beside other encoders and engines."""

from collections.abc import Sequence

from eat.benchmark.agreement import compare_with_replay
from eat.benchmark.engines.openvino import CALIBRATION_ROWS
from eat.benchmark.results import write_benchmark
from eat.benchmark.run import BenchmarkSettings, draw_examples, run_benchmark
from eat.benchmark.shortcuts import find_shortcuts
from eat.benchmark.tokenizing import encoded_examples, texts_of, training_rows
from eat.evaluation.context import Evaluation
from eat.evaluation.findings import choose
from eat.evaluation.stages.stage import Stage
from eat.exits import ThresholdExit
from eat.exits.points import FULL_DEPTH, OperatingPoint


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
        measured = run_benchmark(
            model,
            encoded_examples(run.data, traces.main, index.tolist()),
            list(dict.fromkeys([FULL_DEPTH, *_timed(run, settings.thresholds), run.own])),
            settings,
            shortcuts={shortcut.name: shortcut.model for shortcut in shortcuts},
            texts=texts_of(run.data, traces.main, index.tolist()),
            calibration=training_rows(run.data, CALIBRATION_ROWS),
            whole=encoded_examples(run.data, traces.main, range(len(traces.reported))),
        )
        run.benchmark = compare_with_replay(measured, traces, index, shortcuts)
        write_benchmark(run.folder, run.benchmark, run.traces.fingerprint)


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
