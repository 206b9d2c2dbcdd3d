"""One line of a table: an experiment over its seeds, beside the dense one."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from eat.benchmark.contenders import PADDED
from eat.evaluation.report.rows import point_row
from eat.evaluation.report.table import Row
from eat.exits.points import OperatingPoint
from eat.results.choice import chosen_point
from eat.results.collect import LoggedRun, Problem
from eat.results.elue import elue_score, front
from eat.results.group import Experiment, epochs_of, goes_on_from
from eat.tasks.metrics import METRICS
from eat.traces.quality import Delta, Point, difference, measure_point, predictions
from eat.traces.replay import replay
from eat.traces.statistics import seeds_difference_interval

Size = tuple[int, int]
"""Batch size and threads of a timing."""


@dataclasses.dataclass(frozen=True, eq=False)
class Shown:
    """A run at the operating point that the table shows."""

    run: LoggedRun
    point: Point
    delta: Delta | None  # to the dense run of the same seed

    @property
    def value(self) -> float:
        """The primary metric."""
        return next(iter(self.point.metrics.values()))


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
    """An experiment in a table."""

    experiment: Experiment
    shown: tuple[Shown, ...]  # its runs, in the order of their seeds
    delta: Delta | None  # to dense, mean over the seeds that both have
    flops_ratio: float | None  # executed work over that of dense, full depth
    score: float | None  # see `elue_score`; None for dense and static ones

    @property
    def exits(self) -> tuple[OperatingPoint, ...]:
        """The operating points, each once."""
        return tuple(dict.fromkeys(shown.point.exit for shown in self.shown))

    def mean(self, of: Callable[[Point], float | None]) -> float | None:
        """Return the mean over seeds; None where one lacks it."""
        values = [of(shown.point) for shown in self.shown]
        known = [value for value in values if value is not None]
        return statistics.mean(known) if len(known) == len(values) else None

    @property
    def value(self) -> tuple[float, float | None]:
        """Mean of the primary metric over seeds, and its sample deviation where there are several."""
        values = [shown.value for shown in self.shown]
        return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None

    def speedups(self) -> dict[Size, float]:
        """Return the mean speed-up over padded Hugging Face, for each size that all seeds were timed at."""
        found: list[Mapping[Size, float]] = [_speedups(shown) for shown in self.shown]
        sizes = [size for size in found[0] if all(size in other for other in found)]
        return {size: statistics.mean(speedups[size] for speedups in found) for size in sizes}

    def rows(self) -> list[tuple[LoggedRun, Row]]:
        """Return each run with its row, or one row for each size that it was timed at."""
        return [(shown.run, row) for shown in self.shown for row in _rows(shown)]


def make_lines(
    experiments: Sequence[Experiment], baseline: str, within: float | None
) -> tuple[list[Line], list[Problem]]:
    """Measure the experiments of a block; ``baseline`` is the name of the dense one, which stands first.

    Of several configurations of the dense one each other experiment is beside that whose settings are the nearest.
    """
    ordered = sorted(experiments, key=lambda e: (e.kind != baseline, not is_static(e, baseline), e.name))
    beside, problems = _dense_of_each(ordered, baseline)
    shown = {experiment: _show(experiment, beside[experiment], within, problems) for experiment in ordered}
    problems += [problem for e, dense in beside.items() if dense and (problem := _trained_otherwise(e, dense))]
    lines = []
    for experiment, runs in shown.items():
        dense = beside[experiment]
        static = [shown[e] for e in ordered if is_static(e, baseline) and beside[e] is dense]
        scores = [] if is_static(experiment, baseline) else [_score(run.run, static) for run in runs]
        known = [score for score in scores if score is not None]
        ratio = None if dense is None else _cost_and_value(runs)[0] / _cost_and_value(shown[dense])[0]
        lines.append(
            Line(
                experiment,
                tuple(runs),
                None if experiment is dense else _mean_delta(runs, dense),
                ratio,
                statistics.mean(known) if known and len(known) == len(scores) else None,
            )
        )
    return lines, problems


def _score(run: LoggedRun, static: Sequence[Sequence[Shown]]) -> float | None:
    """Return a run's `elue_score` over the static models of its own seed: seeds differ by more than methods do."""
    curve = [_cost_and_value([one]) for shown in static for one in shown if one.run.seed == run.seed]
    return elue_score(front(run), curve)


def is_static(experiment: Experiment, baseline: str) -> bool:
    """Return True for the models that the static curve goes through: dense, and its first layers trained alone."""
    return experiment.kind == baseline or experiment.kind.startswith("static")


def _dense_of_each(
    experiments: Sequence[Experiment], baseline: str
) -> tuple[dict[Experiment, Experiment | None], list[Problem]]:
    """Return the dense experiment that each is beside, itself for a dense one; None where several are as near."""
    title, dense = experiments[0].block.title, [e for e in experiments if e.kind == baseline]
    if len(dense) < 2:
        only = dense[0] if dense else None
        return dict.fromkeys(experiments, only), [] if only else [
            Problem(title, f"no run of {baseline!r} to compare with")
        ]
    said = f"several configurations of {baseline!r}: each other is beside the nearest of them"
    problems = [Problem(title, said)] if len(dense) < len(experiments) else []
    beside: dict[Experiment, Experiment | None] = {}
    for experiment in experiments:
        apart = [_settings_apart(experiment, one) for one in dense]
        unclear = experiment.kind != baseline and apart.count(min(apart)) > 1
        beside[experiment] = None if unclear else dense[apart.index(min(apart))]
        if unclear:
            problems.append(Problem(f"{experiment.name} ({title})", f"as near to several {baseline!r}: beside none"))
    return beside, problems


def _settings_apart(one: Experiment, other: Experiment) -> int:
    """Count the settings in which two experiments differ."""
    ours, theirs = one.settings, other.settings
    return sum(ours.get(key) != theirs.get(key) for key in {*ours, *theirs})


def _trained_otherwise(experiment: Experiment, dense: Experiment) -> Problem | None:
    """Say where an experiment's training was another than that of the dense one beside it, its parts apart."""
    (run, *_), (other, *_) = experiment.runs, dense.runs
    begun, epochs, theirs = goes_on_from(run), epochs_of(run), epochs_of(other)
    said = [f"goes on from the weights of {begun}"] if begun and begun != goes_on_from(other) else []
    if epochs is not None and theirs is not None and epochs != theirs:
        said.append(f"is trained for {epochs:g} epochs, {dense.name} for {theirs:g}")
    name = f"{experiment.name} ({experiment.block.title})"
    return Problem(name, " and ".join(said)) if said else None


def _show(
    experiment: Experiment, dense: Experiment | None, within: float | None, problems: list[Problem]
) -> list[Shown]:
    result = []
    for run in experiment.runs:
        point = measure_point(run.traces.reported, chosen_point(run, within))
        other = None if dense is None or dense is experiment else dense.of_seed(run.seed)
        delta = None
        if other is not None:
            try:
                delta = difference(run.traces.reported, _logits(run, point.exit), _dense_logits(run, other))
            except ValueError as error:
                problems.append(Problem(run.run.name, str(error)))
        elif dense is not None and dense is not experiment:
            name = f"{experiment.name} ({experiment.block.title})"
            problems.append(Problem(name, f"seed {run.seed} has no dense run; the difference is over the others"))
        result.append(Shown(run, point, delta))
    return result


def _logits(run: LoggedRun, point: OperatingPoint) -> np.ndarray:
    return replay(run.traces.reported, point).logits


def _dense_logits(run: LoggedRun, dense: LoggedRun) -> np.ndarray:
    return dense.traces.same_examples(run.traces.main, run.traces.reported, dense.run.name).full_depth


def _mean_delta(shown: Sequence[Shown], dense: Experiment | None) -> Delta | None:
    """Return the mean difference over seeds, with an interval over examples and, where there are several, seeds."""
    paired = [run for run in shown if run.delta is not None]
    if len(paired) < 2 or dense is None:
        return paired[0].delta if paired else None
    trace = paired[0].run.traces.reported
    others = [other for run in paired if (other := dense.of_seed(run.run.seed)) is not None]
    ours = np.stack([predictions(_logits(run.run, run.point.exit), trace.multi_label) for run in paired])
    theirs = np.stack(
        [predictions(_dense_logits(r.run, other), trace.multi_label) for r, other in zip(paired, others, strict=True)]
    )
    value = METRICS[trace.task.metrics[0]].value
    low, high = seeds_difference_interval(
        lambda said, truth: value(said, truth, trace.task), trace.labels, ours, theirs
    )
    return Delta(statistics.mean(run.delta.points for run in paired if run.delta), 100 * low, 100 * high)


def _cost_and_value(shown: Sequence[Shown]) -> tuple[float, float]:
    return statistics.mean(s.point.gflops for s in shown), statistics.mean(s.value for s in shown)


def _speedups(shown: Shown) -> dict[Size, float]:
    return {
        (row["batch_size"], row["threads"]): row["speedup"]
        for row in shown.run.times(shown.point.exit)
        if row["baseline"] == PADDED and row["speedup"] is not None
    }


def _rows(shown: Shown) -> list[Row]:
    row = point_row(shown.run.run, shown.run.traces.reported, shown.point)
    delta = shown.delta
    ends = (None, None, None) if delta is None else (delta.points, delta.low, delta.high)
    row |= zip(("delta_points", "delta_low", "delta_high"), ends, strict=True)
    measured = [name for name in row if name in _TIMED]
    times = shown.run.times(shown.point.exit)
    return [row | {name: time[name] for name in measured} for time in times] or [row]


_TIMED = {
    *("engine", "batch_size", "threads", "device", "dtype", "latency_ms_p50", "latency_ms_p95", "latency_ms_p99"),
    *("examples_per_s", "baseline", "speedup", "speedup_low", "speedup_high", "efficiency"),
    *("speedup_tokenised", "speedup_tokenised_low", "speedup_tokenised_high"),
    *("peak_memory_mib", "peak_memory_over_loaded_mib"),
}
