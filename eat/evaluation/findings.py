"""From traces to findings: operating points on every split, thresholds chosen on one split and reported on another."""

import dataclasses
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from eat.traces.costs import Costs
from eat.traces.quality import Point, measure_point, metric_values, predictions
from eat.traces.replay import FINE_THRESHOLDS, ExitSpec, distinct, point_order, sweep_specs
from eat.traces.statistics import Interval, mean_interval, wilson_interval
from eat.traces.trace import Trace

ALL_OFF_SUFFIX = ".all_off"
"""Ends the name of a trace made with the same weights, full attention and no pruning: what dense baselines answer."""

THRESHOLD_SPLIT = "threshold"
FULL_DEPTH: ExitSpec = {"name": "never"}
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
    exit: ExitSpec
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
    own: ExitSpec
    splits: Sequence[SplitFacts]
    points: Mapping[str, Sequence[Point]]
    own_points: Mapping[str, Point]
    dense_points: Mapping[str, Point]
    choices: Sequence[Choice]

    def point(self, spec: Mapping[str, Any]) -> Point:
        """Return an operating point on the main split.

        Raises:
            KeyError: If it was not swept.
        """
        for point in (*self.points[self.main], self.own_points[self.main]):
            if point.exit == dict(spec):
                return point
        raise KeyError(f"operating point {dict(spec)} was not swept")


def analyse(
    traces: Mapping[str, Trace],
    own: Mapping[str, Any],
    *,
    baseline: Mapping[str, Trace] | None = None,
    thresholds: Sequence[float] | None = None,
    always: Sequence[ExitSpec] = (),
    sweep: bool = True,
) -> Findings:
    """Measure every operating point of a run.

    Args:
        traces: All traces of the run, by name.
        own: The exit that the report is about.
        baseline: The traces of a dense run on the same data, which quality is compared with as well.
        thresholds: Values to sweep instead of the default ones.
        always: Operating points to measure even where a neighbour decides the same.
        sweep: False measures full depth, the own operating point and ``always`` only.

    Raises:
        ValueError: If the baseline answered other examples, or the exit does not suit the task.
    """
    dense_traces = all_off_traces(traces)
    traces = {name: trace for name, trace in traces.items() if not name.endswith(ALL_OFF_SUFFIX)}
    reported = list(dense_traces)
    costs = {name: Costs(trace) for name, trace in traces.items()}
    answers = {name: same_examples("baseline_run", baseline, traces[name], name) for name in reported if baseline}
    dense_run = {name: trace.all_logits[:, -1] for name, trace in answers.items()}
    main = reported[0]

    def measure(name: str, spec: Mapping[str, Any]) -> Point:
        return measure_point(traces[name], spec, costs[name], traces[name].all_logits[:, -1], dense_run.get(name))

    kept = _merged([], _without_full_depth([*always, dict(own)]))
    swept: Sequence[ExitSpec] = [FULL_DEPTH, *kept]
    chosen: Sequence[tuple[float, ExitSpec, float]] = ()
    if sweep:
        num_heads = len(traces[main].head_depths)
        if THRESHOLD_SPLIT in traces and sweep_specs(own, num_heads) != (FULL_DEPTH,):
            chosen = _choose(traces[THRESHOLD_SPLIT], [FULL_DEPTH, *sweep_specs(own, num_heads, FINE_THRESHOLDS)])
        kept = _merged(kept, _without_full_depth([spec for _, spec, _ in chosen]))
        specs = _without_full_depth(sweep_specs(own, num_heads, thresholds))
        swept = [FULL_DEPTH, *distinct(traces[main], _merged(specs, kept), kept)]
    points = {name: [measure(name, spec) for spec in swept] for name in reported}
    return Findings(
        traces=traces,
        dense_traces=dense_traces,
        main=main,
        own=dict(own),
        splits=[split_facts(name, trace) for name, trace in traces.items()],
        points=points,
        own_points={name: measure(name, own) for name in traces},
        dense_points={
            name: measure_point(trace, FULL_DEPTH, Costs(trace), traces[name].all_logits[:, -1], dense_run.get(name))
            for name, trace in dense_traces.items()
        },
        choices=[
            Choice(max_drop, spec, drop, next(point for point in points[main] if point.exit == spec))
            for max_drop, spec, drop in chosen
        ],
    )


def all_off_traces(traces: Mapping[str, Trace]) -> dict[str, Trace]:
    """Return, for each reported split, what the encoder with everything off answered; where nothing is on, the run."""
    own = {name: trace for name, trace in traces.items() if not name.endswith(ALL_OFF_SUFFIX)}
    reported = {name: trace for name, trace in own.items() if trace.metadata["reported"]}
    return {name: traces.get(f"{name}{ALL_OFF_SUFFIX}", trace) for name, trace in reported.items()}


def reported_trace(traces: Mapping[str, Trace]) -> Trace:
    """Return the trace of the first split whose figures are reported."""
    return next(t for name, t in traces.items() if t.metadata["reported"] and not name.endswith(ALL_OFF_SUFFIX))


def same_examples(argument: str, others: Mapping[str, Trace], trace: Trace, name: str) -> Trace:
    """Return another run's trace of a split, which must answer the same examples.

    Args:
        argument: What an error calls the other run.
        others: Its traces.
        trace: This run's trace of the split.
        name: The split.

    Raises:
        ValueError: If there is none, or its examples are others.
    """
    if name not in others or not np.array_equal(others[name].labels, trace.labels):
        raise ValueError(
            f"{argument}: its trace must answer the same {len(trace)} examples of {name!r}, in order; it has "
            + (f"{len(others[name])} examples" if name in others else f"the splits {sorted(others)}")
        )
    return others[name]


def split_facts(name: str, trace: Trace) -> SplitFacts:
    """Describe a split by its lengths and by the model's answers at full depth."""
    logits = trace.all_logits[:, -1]
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


def _choose(held_out: Trace, candidates: Sequence[ExitSpec]) -> list[tuple[float, ExitSpec, float]]:
    """Pick, for each budget, the cheapest candidate that keeps to it on the threshold split, and say what it loses."""
    costs = Costs(held_out)
    points = [measure_point(held_out, spec, costs) for spec in candidates]
    metric = held_out.task.metrics[0]
    full = metric_values(held_out.task, held_out.labels, held_out.all_logits[:, -1])[metric]
    drops = [(point.flops_ratio, 100 * (full - point.metrics[metric]), point.exit) for point in points]
    choices = []
    for max_drop in MAX_DROPS:
        fitting = [drop for drop in drops if drop[1] <= max_drop + 1e-9]
        if fitting:  # full depth always fits, unless its metric is undefined (NaN)
            _, drop, spec = min(fitting, key=itemgetter(0))
            choices.append((max_drop, spec, drop))
    return choices


def _without_full_depth(specs: Sequence[ExitSpec]) -> list[ExitSpec]:
    return [spec for spec in specs if spec != FULL_DEPTH]


def _merged(specs: Sequence[ExitSpec], more: Sequence[ExitSpec]) -> list[ExitSpec]:
    """Put further operating points in their place among swept ones."""
    missing = [spec for spec in more if spec not in specs]
    both = [*specs, *(spec for i, spec in enumerate(missing) if spec not in missing[:i])]
    return sorted(both, key=point_order)


def _apart(one: Interval, other: Interval) -> bool:
    return one[1] < other[0] or other[1] < one[0]
