"""From traces to findings: operating points on every split, thresholds chosen on one split and reported on another."""

import dataclasses
from collections.abc import Mapping, Sequence
from operator import itemgetter

import numpy as np

from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.traces.quality import Point, measure_point, metric_values, predictions
from eat.traces.run_traces import RunTraces
from eat.traces.statistics import Interval, mean_interval, wilson_interval
from eat.traces.sweeps import FINE_THRESHOLDS, distinct, sweep
from eat.traces.trace import Trace

MAX_DROPS = (0.0, 0.5, 1.0, 2.0)
"""Points of the primary metric that a chosen threshold may lose on the threshold split."""


@dataclasses.dataclass(frozen=True)
class SplitFacts:
    """What a split is like, beside the others: a threshold chosen on easier text does not carry over.

    Attributes:
        name: The split.
        reported: False where it was held out of training.
        data: "complete", "subset n of N" or "held out".
        examples: Rows.
        mean_length: Mean tokens per example.
        long_length: 95th percentile of tokens per example.
        full_depth: The primary metric at full depth.
        interval: Its Wilson interval, where it is accuracy.
        length_interval: 95 % interval of the mean length.
    """

    name: str
    reported: bool
    data: str
    examples: int
    mean_length: float
    long_length: float
    full_depth: float
    interval: Interval | None
    length_interval: Interval

    def differences(self, reported: "SplitFacts") -> list[str]:
        """Say in which respects this split differs from a reported one: where their 95 % intervals do not overlap."""
        found = []
        if _apart(self.length_interval, reported.length_interval):
            found.append("length")
        if self.interval and reported.interval and _apart(self.interval, reported.interval):
            found.append("full-depth accuracy")
        return found


@dataclasses.dataclass(frozen=True)
class Choice:
    """An operating point chosen on the threshold split.

    Attributes:
        max_drop: Points of the primary metric that it may lose there.
        exit: The cheapest operating point that does not lose more.
        drop: Points that it loses there (below 0 where it gains).
        reported: The same operating point on the reported split.
    """

    max_drop: float
    exit: OperatingPoint
    drop: float
    reported: Point


@dataclasses.dataclass(frozen=True, eq=False)
class Findings:
    """All that is known without running the model.

    Attributes:
        traces: By split, without those of the dense encoder.
        dense_traces: Those of the encoder with everything off, by split; the run's own where nothing was on.
        main: The reported split that figures and benchmark use.
        own: The operating point that the report is about.
        splits: Facts of each split.
        points: Swept operating points of each reported split, full depth among them.
        own_points: The own operating point on each split.
        dense_points: The encoder with everything off on each reported split.
        choices: Operating points chosen on the threshold split; empty where there is none.
    """

    traces: Mapping[str, Trace]
    dense_traces: Mapping[str, Trace]
    main: str
    own: OperatingPoint
    splits: Sequence[SplitFacts]
    points: Mapping[str, Sequence[Point]]
    own_points: Mapping[str, Point]
    dense_points: Mapping[str, Point]
    choices: Sequence[Choice]

    def point(self, wanted: OperatingPoint) -> Point:
        """Return an operating point on the main split.

        Raises:
            KeyError: If it was not swept.
        """
        for point in (*self.points[self.main], self.own_points[self.main]):
            if point.exit == wanted:
                return point
        raise KeyError(f"operating point {wanted.label} was not swept")


def analyse(
    traces: RunTraces,
    own: OperatingPoint,
    *,
    baseline: RunTraces | None = None,
    thresholds: Sequence[float] | None = None,
    always: Sequence[OperatingPoint] = (),
    swept: bool = True,
) -> Findings:
    """Measure every operating point of a run.

    Args:
        traces: What the run's model answers.
        own: The exit that the report is about.
        baseline: The traces of a dense run on the same data, which quality is compared with as well.
        thresholds: Values to sweep instead of the default ones.
        always: Operating points to measure even where a neighbour decides the same.
        swept: False measures full depth, the own operating point and ``always`` only.

    Raises:
        ValueError: If the baseline answered other examples, or the exit does not suit the task.
    """
    main = traces.main
    dense_run = (
        {}
        if baseline is None
        else {
            name: baseline.same_examples(name, traces.splits[name], "baseline_run").full_depth
            for name in traces.all_off
        }
    )

    def measure(name: str, point: OperatingPoint) -> Point:
        trace = traces.splits[name]
        return measure_point(trace, point, trace.full_depth, dense_run.get(name))

    kept = _merged([], _without_full_depth([*always, own]))
    shown: Sequence[OperatingPoint] = [FULL_DEPTH, *kept]
    chosen: Sequence[tuple[float, OperatingPoint, float]] = ()
    if swept:
        num_heads = len(traces.reported.head_depths)
        held_out = traces.get("threshold")
        if held_out is not None and sweep(own, num_heads) != [FULL_DEPTH]:
            chosen = _choose(held_out, [FULL_DEPTH, *sweep(own, num_heads, FINE_THRESHOLDS)])
        kept = _merged(kept, _without_full_depth([point for _, point, _ in chosen]))
        points = _without_full_depth(sweep(own, num_heads, thresholds))
        shown = [FULL_DEPTH, *distinct(traces.reported, _merged(points, kept), kept)]
    measured = {name: [measure(name, point) for point in shown] for name in traces.all_off}
    return Findings(
        traces=traces.splits,
        dense_traces=traces.all_off,
        main=main,
        own=own,
        splits=[split_facts(name, trace) for name, trace in traces.splits.items()],
        points=measured,
        own_points={name: measure(name, own) for name in traces.splits},
        dense_points={
            name: measure_point(trace, FULL_DEPTH, traces.splits[name].full_depth, dense_run.get(name))
            for name, trace in traces.all_off.items()
        },
        choices=[
            Choice(max_drop, point, drop, next(found for found in measured[main] if found.exit == point))
            for max_drop, point, drop in chosen
        ],
    )


def split_facts(name: str, trace: Trace) -> SplitFacts:
    """Describe a split by its lengths and by the model's answers at full depth."""
    logits = trace.full_depth
    values = metric_values(trace.task, trace.labels, logits)
    right = int((predictions(logits) == trace.labels).sum())
    return SplitFacts(
        name=name,
        reported=trace.metadata["reported"],
        data=trace.metadata["data"],
        examples=len(trace),
        mean_length=float(trace.lengths.mean()),
        long_length=float(np.percentile(trace.lengths, 95)),
        full_depth=next(iter(values.values())),
        interval=wilson_interval(right, len(trace)) if next(iter(values)) == "accuracy" else None,
        length_interval=mean_interval(trace.lengths),
    )


def _choose(held_out: Trace, candidates: Sequence[OperatingPoint]) -> list[tuple[float, OperatingPoint, float]]:
    """Pick, for each budget, the cheapest candidate that keeps to it on the threshold split, and say what it loses."""
    points = [measure_point(held_out, point) for point in candidates]
    metric = held_out.task.metrics[0]
    full = metric_values(held_out.task, held_out.labels, held_out.full_depth)[metric]
    drops = [(point.flops_ratio, 100 * (full - point.metrics[metric]), point.exit) for point in points]
    choices = []
    for max_drop in MAX_DROPS:
        fitting = [drop for drop in drops if drop[1] <= max_drop + 1e-9]
        if fitting:  # full depth always fits, unless its metric is undefined (NaN)
            _, drop, spec = min(fitting, key=itemgetter(0))
            choices.append((max_drop, spec, drop))
    return choices


def _without_full_depth(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    return [point for point in points if point != FULL_DEPTH]


def _merged(points: Sequence[OperatingPoint], more: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """Put further operating points in their place among swept ones."""
    return sorted(dict.fromkeys([*points, *more]), key=lambda point: point.order)


def _apart(one: Interval, other: Interval) -> bool:
    return one[1] < other[0] or other[1] < one[0]
