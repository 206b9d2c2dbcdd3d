"""List the operating points that a sweep, a plan, a comparison or a certificate tries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from eat.exits import EXITS, ThresholdExit
from eat.exits.points import OperatingPoint
from eat.traces.replay import Replay, replay
from eat.traces.trace import Trace

THRESHOLDS = (*np.round(np.arange(0.0, 1.0, 0.05), 2).tolist(), 0.97, 0.99, 1.0)
"""Swept where a criterion has a threshold; holds the paper's 0.80, 0.85, 0.90 and 0.95."""

FINE_THRESHOLDS = (*np.round(np.arange(0.0, 1.0, 0.01), 2).tolist(), 0.995, 0.999, 1.0)
"""Tried when a threshold is chosen."""

NUM_QUANTILES = 200
"""Thresholds tried for each criterion and patience at equal steps of its own scores: as fine for one as for another."""
DECIMALS = 4


def sweep(point: OperatingPoint, num_heads: int, thresholds: Sequence[float] | None = None) -> list[OperatingPoint]:
    """List what a criterion is swept over: its thresholds, else its patience, else itself.

    The point's other arguments stay as they are. Patience runs from 1 to one less than ``num_heads``, the last
    included.
    """
    if point.threshold is not None:
        return list(point.at(sorted(set(thresholds or THRESHOLDS))))
    if point.takes("patience"):
        return [point.changed({"patience": patience}) for patience in range(1, max(2, num_heads))]
    return [point]


def criterion_points(
    name: str,
    trace: Trace,
    thresholds: Callable[[OperatingPoint], Sequence[float]],
    *,
    veto_margin: float | None = None,
) -> Iterator[OperatingPoint]:
    """Yield the operating points of a criterion of `EXITS`: every patience, without and with thresholds.

    Nothing where the criterion does not read what the model of the trace predicts. ``thresholds`` gives those to try at
    a point; ``veto_margin`` is that of every criterion that can have one.
    """
    base = OperatingPoint.of({"name": name})
    if veto_margin is not None and base.takes("veto_margin"):
        base = base.changed({"veto_margin": veto_margin})
    patience = range(1, max(2, len(trace.head_depths))) if base.takes("patience") else (None,)
    points = [base.changed({"patience": value}) for value in patience]
    criterion = points[0].build()
    if criterion.needs_classes if trace.is_regression else criterion.needs_score:
        return
    yield from (point for point in points if point.threshold is None)
    for point in points:
        yield from point.at(thresholds(point))


def fixed_thresholds(thresholds: Sequence[float] | None = None) -> Callable[[OperatingPoint], Sequence[float]]:
    """Try the same thresholds everywhere; by default fine ones, and coarser ones beside patience."""
    given = sorted(set(thresholds or ()))
    return lambda point: given or (THRESHOLDS if point.takes("patience") else FINE_THRESHOLDS)


def score_quantiles(trace: Trace) -> Callable[[OperatingPoint], Sequence[float]]:
    """Try thresholds at equal steps of the scores that a criterion gives on a trace."""

    def quantiles(point: OperatingPoint) -> list[float]:
        criterion = point.build()
        if not isinstance(criterion, ThresholdExit):
            return []
        history = trace.exit_history
        early = range(len(history) - 1)
        scores = [criterion.score(history[: head + 1]).double().numpy() for head in early]
        finite = np.concatenate([np.empty(0), *scores])
        finite = finite[np.isfinite(finite)]
        if len(finite) == 0:
            return []
        steps = np.quantile(finite, np.linspace(0, 1, NUM_QUANTILES))
        return np.unique(np.round(np.maximum(steps, 0.0), DECIMALS)).tolist()

    return quantiles


def candidate_points(
    trace: Trace,
    criteria: Sequence[str] = tuple(EXITS),
    thresholds: Sequence[float] | None = None,
    veto_margin: float | None = None,
) -> Iterator[tuple[OperatingPoint, Replay]]:
    """Yield every operating point that decides differently on a trace: criteria, thresholds and patience.

    ``thresholds`` replace the default ones; ``veto_margin`` is that of every criterion that can have one.
    """
    seen = set()
    for name in criteria:
        for point in criterion_points(name, trace, fixed_thresholds(thresholds), veto_margin=veto_margin):
            replayed = replay(trace, point)
            decisions = (replayed.early_heads, replayed.exit_depth.tobytes())
            if decisions not in seen:
                seen.add(decisions)
                yield point, replayed


def distinct(
    trace: Trace, points: Sequence[OperatingPoint], always: Sequence[OperatingPoint] = ()
) -> list[OperatingPoint]:
    """Leave out operating points at which all examples exit where they did at the one before; ``always`` stay."""
    chosen: list[OperatingPoint] = []
    last: np.ndarray | None = None
    for point in points:
        depths = replay(trace, point).exit_depth
        if last is None or point in always or not np.array_equal(depths, last):
            chosen.append(point)
        last = depths
    return chosen
