"""The operating points that a certificate tests, in order: chosen on the threshold split, from cautious to fast."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from eat.evaluation.certify.losses import RISKS, Risk
from eat.evaluation.certify.risk_control import cost_chain, pareto_chain
from eat.exits import EXITS
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.traces.replay import replay
from eat.traces.run_traces import RunTraces
from eat.traces.sweeps import candidate_points
from eat.traces.trace import Trace

Runs = Mapping[str, RunTraces]
"""Traces by run; losses are measured against the full depth of the first run."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An operating point with what the threshold split says of it.

    Attributes:
        run: The run whose traces it is replayed on.
        exit: The point itself.
        risk: Mean loss.
        ties: A second mean loss, which decides between equal risks.
        flops: Mean executed work per example.
    """

    run: str
    exit: OperatingPoint
    risk: float
    ties: float
    flops: float

    @property
    def family(self) -> str:
        """What it shares with the points that differ in the threshold alone."""
        return f"{self.run} {self.exit.family_label}"


def front_chain(
    runs: Runs, risk: str, criteria: Sequence[str], thresholds: Sequence[float] | None, veto_margin: float | None = None
) -> list[Candidate]:
    """List full depth and the Pareto front over runs, criteria and thresholds below its cost, cautious points first.

    Args:
        runs: Traces; those of the threshold split are read.
        risk: Name of the loss.
        criteria: Names of the exits to try.
        thresholds: Values to try instead of the default ones.
        veto_margin: That of every exit that can have one.

    Raises:
        ValueError: If nobody can leave early.
    """
    full, *points = _candidates(runs, risk, criteria, thresholds, veto_margin)
    order = pareto_chain(*(np.array([getattr(p, field) for p in points]) for field in ("risk", "ties", "flops")))
    return [full, *(points[i] for i in order)]


def threshold_chain(
    runs: Runs,
    risk: str,
    criteria: Sequence[str],
    thresholds: Sequence[float] | None,
    max_risk: float,
    veto_margin: float | None = None,
) -> list[Candidate]:
    """List full depth and the thresholds of the one criterion with the cheapest point within a risk, dear ones first.

    Args:
        runs: Traces; those of the threshold split are read.
        risk: Name of the loss.
        criteria: Names of the exits to choose among.
        thresholds: Values to try instead of the default ones.
        max_risk: The risk that the cheapest point may have on the threshold split.
        veto_margin: That of every exit that can have one.

    Raises:
        ValueError: If nobody can leave early.
    """
    full, *points = _candidates(runs, risk, criteria, thresholds, veto_margin)
    risks, flops = (np.array([getattr(point, field) for point in points]) for field in ("risk", "flops"))
    order = cost_chain([point.family for point in points], risks, flops, max_risk)
    return [full, *(points[i] for i in order)]


def losses_of(trace: Trace, reference: Trace, point: OperatingPoint, risk: Risk) -> Float[np.ndarray, " examples"]:
    """Return each example's loss at an operating point, against the full depth of a reference on the same examples."""
    return risk.loss(replay(trace, point).logits, reference.full_depth, trace.labels)


def _candidates(
    runs: Runs, risk: str, criteria: Sequence[str], thresholds: Sequence[float] | None, veto_margin: float | None
) -> list[Candidate]:
    """List full depth of the first run, then all that costs less and differs from others of the same criterion."""
    first, *_ = runs
    names = [name for name in criteria if name != FULL_DEPTH.name]
    tried = [
        (run, point, replayed)
        for run, traces in runs.items()
        for name in (FULL_DEPTH.name, *names)
        for point, replayed in candidate_points(traces.need("threshold", "certify"), (name,), thresholds, veto_margin)
    ]
    reference = runs[first].need("threshold", "certify")
    depths = list(reference.head_depths)
    if not any(run != first or (replayed.exit_depth < depths[-1]).any() for run, _, replayed in tried):
        raise ValueError(
            f"certify.criteria: with heads at depths {depths} none of {names or list(EXITS)} lets anybody leave early; "
            "nothing to certify: train with earlier heads (backbone.head_depths=...) or name other criteria"
        )
    second = RISKS["inconsistency" if risk == "brier_gap" else "brier_gap"]
    points = []
    for run, point, replayed in tried:
        answers = replayed.logits, reference.full_depth, reference.labels
        points.append(
            Candidate(
                run=run,
                exit=point,
                risk=float(RISKS[risk].loss(*answers).mean()),
                ties=float(second.loss(*answers).mean()),
                flops=float(runs[run].need("threshold", "certify").costs.executed(replayed).mean()),
            )
        )
    full, *others = points
    return [full, *(point for point in others if point.flops < full.flops)]
