"""From traces to findings: operating points on every split, thresholds chosen on one split and reported on another."""

import dataclasses
from collections.abc import Mapping, Sequence

from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.traces.quality import Point, measure_point, metric_values
from eat.traces.run_traces import RunTraces
from eat.traces.splits import SplitFacts
from eat.traces.sweeps import FINE_THRESHOLDS, distinct, sweep
from eat.traces.trace import Trace

MAX_DROPS = (0.0, 0.5, 1.0, 2.0)
"""Points of the primary metric that a chosen threshold may lose on the threshold split."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """An operating point chosen on the threshold split."""

    max_drop: float  # points of the primary metric that it may lose there
    exit: OperatingPoint  # the cheapest operating point that does not lose more
    drop: float  # points that it loses there (below 0 where it gains)
    reported: Point  # the same operating point on the reported split


@dataclasses.dataclass(frozen=True, eq=False)
class Findings:
    """All that is known without running the model."""

    traces: RunTraces  # what the run's model answers
    own: OperatingPoint  # the operating point that the report is about
    swept: OperatingPoint | None  # the exit whose criterion was swept
    splits: Sequence[SplitFacts]  # facts of each split
    points: Mapping[str, Sequence[Point]]  # swept operating points of each reported split, full depth among them
    own_points: Mapping[str, Point]  # the own operating point on each split
    dense_points: Mapping[str, Point]  # the encoder with everything off on each reported split
    choices: Sequence[Choice]  # operating points chosen on the threshold split; empty where there is none

    def point(self, wanted: OperatingPoint) -> Point:
        """Return an operating point, swept or the own one, on the main split."""
        for point in (*self.points[self.traces.main], self.own_points[self.traces.main]):
            if point.exit == wanted:
                return point
        raise KeyError(f"operating point {wanted.label} was not swept")


def analyse(
    traces: RunTraces,
    own: OperatingPoint,
    swept: OperatingPoint | None,
    *,
    baseline: RunTraces | None = None,
    thresholds: Sequence[float] | None = None,
    always: Sequence[OperatingPoint] = (),
) -> Findings:
    """Measure every operating point of a run; quality is compared with a dense run's as well, where there is one.

    The criterion of ``swept`` is swept, over ``thresholds`` where they are given. Points of ``always`` are measured
    even where a neighbour decides the same; without a sweep (None) only those, full depth and the own one are.
    """
    dense = {
        name: baseline.same_examples(name, traces.splits[name], "baseline_run").full_depth
        for name in traces.all_off
        if baseline is not None
    }

    def measure(name: str, point: OperatingPoint) -> Point:
        trace = traces.splits[name]
        return measure_point(trace, point, trace.full_depth, dense.get(name))

    kept = _merged([], [*always, own])
    shown: Sequence[OperatingPoint] = [FULL_DEPTH, *kept]
    chosen: Sequence[tuple[float, OperatingPoint, float]] = ()
    if swept is not None:
        num_heads = len(traces.reported.head_depths)
        held_out = traces.get("threshold")
        if held_out is not None:
            chosen = choose(held_out, swept)
        kept = _merged(kept, [point for _, point, _ in chosen])
        points = _merged([], sweep(swept, num_heads, thresholds))
        shown = [FULL_DEPTH, *distinct(traces.reported, _merged(points, kept), kept)]
    measured = {name: [measure(name, point) for point in shown] for name in traces.all_off}
    return Findings(
        traces=traces,
        own=own,
        swept=swept,
        splits=[SplitFacts.of(trace) for trace in traces.splits.values()],
        points=measured,
        own_points={name: measure(name, own) for name in traces.splits},
        dense_points={
            name: measure_point(trace, FULL_DEPTH, traces.splits[name].full_depth, dense.get(name))
            for name, trace in traces.all_off.items()
        },
        choices=[
            Choice(max_drop, point, drop, next(found for found in measured[traces.main] if found.exit == point))
            for max_drop, point, drop in chosen
        ],
    )


def choose(held_out: Trace, swept: OperatingPoint) -> list[tuple[float, OperatingPoint, float]]:
    """Pick, for each budget, the cheapest point of a sweep that keeps to it on the threshold split; say what it loses.

    Nothing where the criterion lets no sequence exit early.
    """
    candidates = sweep(swept, len(held_out.head_depths), FINE_THRESHOLDS)
    if candidates == [FULL_DEPTH]:
        return []
    points = [measure_point(held_out, point) for point in (FULL_DEPTH, *candidates)]
    metric = held_out.task.metrics[0]
    full = metric_values(held_out.task, held_out.labels, held_out.full_depth)[metric]
    drops = [(point.flops_ratio, 100 * (full - point.metrics[metric]), point.exit) for point in points]
    choices = []
    for max_drop in MAX_DROPS:
        fitting = [drop for drop in drops if drop[1] <= max_drop + 1e-9]
        if fitting:  # full depth always fits, unless its metric is undefined (NaN)
            _, drop, point = min(fitting, key=lambda found: found[0])
            choices.append((max_drop, point, drop))
    return choices


def _merged(points: Sequence[OperatingPoint], more: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """Put further operating points in their place among swept ones; full depth stands for itself."""
    early = [point for point in dict.fromkeys([*points, *more]) if point != FULL_DEPTH]
    return sorted(early, key=lambda point: point.order)
