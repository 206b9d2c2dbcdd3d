"""The operating points that a certificate tests, in order: chosen on the threshold split, from cautious to fast."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from eat.evaluation.certify.groups import groups_of
from eat.evaluation.certify.losses import RISKS, Risk
from eat.evaluation.certify.risk_control import cost_chain, pareto_chain
from eat.evaluation.certify.settings import CertifySettings
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.traces.replay import replay
from eat.traces.run_traces import RunTraces
from eat.traces.sweeps import candidate_points
from eat.traces.trace import Trace

Runs = Mapping[str, RunTraces]
"""Traces by run; losses are measured against the full depth of the first run, where there is no other reference."""


@dataclasses.dataclass(frozen=True)
class TestedPoint:
    """An operating point with what the threshold split says of it and, once tested, the certification split."""

    run: str  # the run whose traces it is replayed on
    exit: OperatingPoint  # the point itself
    risk: float  # mean loss on the threshold split; of groups the largest
    ties: float  # a second mean loss there, which decides between equal risks
    flops: float  # mean executed work per example there
    lost: float | None = None  # sum of the losses on the certification split
    mean: float | None = None  # their mean
    passes: bool | None = None  # whether the risk is controlled
    p_value: float | None = None  # of the hypothesis that it is not; None where the guarantee is one in expectation
    upper_bound: float | None = None  # of the risk of this point taken alone; None likewise; of groups the largest

    def to_json(self) -> dict[str, Any]:
        """Return what `certificate.json` holds of it."""
        return {key: value for key, value in vars(self).items() if value is not None} | {"exit": self.exit.spec}


def points_in_order(
    runs: Runs,
    settings: CertifySettings,
    thresholds: Mapping[str, Sequence[float]],
    reference: RunTraces | None = None,
) -> list[TestedPoint]:
    """List full depth, then what costs less, cautious points first.

    Pareto Testing takes the front over runs, criteria and thresholds; the other methods the thresholds of the one
    criterion that has the cheapest point within the risk. Only the threshold split is read.

    Raises:
        ValueError: If no sequence can leave early.
    """
    full, *points = _points(runs, settings, thresholds, reference)
    risk, ties, flops = (np.array([getattr(p, field) for p in points]) for field in ("risk", "ties", "flops"))
    if settings.method == "pareto_testing":
        order = pareto_chain(risk, ties, flops)
    else:
        families = [f"{point.run} {point.exit.family_label}" for point in points]
        order = cost_chain(families, risk, flops, settings.max_drop)
    return [full, *(points[i] for i in order)]


def losses_of(trace: Trace, reference: Trace, point: OperatingPoint, risk: Risk) -> Float[np.ndarray, " examples"]:
    """Return each example's loss at an operating point, against the full depth of a reference on the same examples."""
    return risk.loss(replay(trace, point).logits, reference.full_depth, trace.labels)


def _points(
    runs: Runs,
    settings: CertifySettings,
    thresholds: Mapping[str, Sequence[float]],
    against: RunTraces | None,
) -> list[TestedPoint]:
    """List full depth of the first run, then all that costs less and differs from others of the same criterion."""
    first, *_ = runs
    held_out = {run: traces.need("threshold", "certify") for run, traces in runs.items()}
    names = [name for name in settings.criteria if name != FULL_DEPTH.name]
    tried = [
        (run, point, replayed)
        for run, trace in held_out.items()
        for name in (FULL_DEPTH.name, *names)
        for point, replayed in candidate_points(trace, (name,), thresholds.get(name), settings.veto_margin)
    ]
    reference = held_out[first] if against is None else against.need("threshold", "certify.reference")
    groups = groups_of(held_out[first], settings.by, held_out[first])
    depths = list(held_out[first].head_depths)
    if not any(run != first or (replayed.exit_depth < depths[-1]).any() for run, _, replayed in tried):
        raise ValueError(
            f"certify.criteria: with heads at depths {depths} none of {names or [FULL_DEPTH.name]} lets a sequence "
            "leave early; train with earlier heads (head_depths=...), or name other criteria"
        )
    second = RISKS["inconsistency" if settings.loss == "brier_gap" else "brier_gap"]
    points = []
    for run, point, replayed in tried:
        answers = replayed.logits, reference.full_depth, reference.labels
        risk, ties = groups.worst_mean(settings.risk.loss(*answers)), float(second.loss(*answers).mean())
        points.append(TestedPoint(run, point, risk, ties, float(replayed.flops(held_out[run].costs).mean())))
    full, *others = points
    return [full, *(point for point in others if point.flops < full.flops)]
