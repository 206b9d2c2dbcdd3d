"""An accuracy budget in, an operating point with a guarantee out, or an honest refusal.

What is tested, and in which order, comes from the threshold split; the certification split is read by the test alone.
The guarantee is about texts like those of the certification split. Each certificate stands for itself: certifying again
with other settings until something passes is not covered.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from eat.checks import number
from eat.evaluation.certify.losses import RISKS, Risk
from eat.evaluation.certify.p_values import examples_needed
from eat.evaluation.certify.risk_control import (
    BinomialTest,
    ExpectationBound,
    HoeffdingBentkusTest,
    RiskTest,
    certified_prefix,
    monotone,
)
from eat.evaluation.certify.sequence import Candidate, Runs, front_chain, losses_of, threshold_chain
from eat.exits import EXITS
from eat.traces.profile import Profile, measure
from eat.traces.quality import measure_point
from eat.traces.replay import replay
from eat.traces.run_traces import Role
from eat.traces.splits import compare_splits, split_fingerprint
from eat.traces.trace import Trace

HELD_OUT: tuple[Role, ...] = ("threshold", "certification")
METHODS = ("pareto_testing", "learn_then_test", "conformal_risk_control")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CertifySettings:
    """What is to be guaranteed, and how.

    Attributes:
        max_drop: The bound on the mean loss, in (0, 1): 0.01 is one point of accuracy.
        confidence: Probability over certification splits with which it holds, in (0, 1). Conformal Risk Control
            guarantees an expectation instead and does not use it.
        loss: Name in `RISKS`: accuracy_gap, inconsistency (reads no labels) or brier_gap.
        method: ``pareto_testing`` (the front over criteria, thresholds and runs), ``learn_then_test`` (the thresholds
            of one criterion) or ``conformal_risk_control`` (the same thresholds, a guarantee in expectation).
        criteria: Names of the exits that may be chosen; empty for all.
        veto_margin: Where the best class leads by less than this, all heads must agree; see
            `eat.exits.ThresholdExit`. None: no veto.
        runs: Folders of further runs, such as the same weights with other pruning, that answer the same splits.
    """

    max_drop: int | float
    confidence: int | float = 0.95
    loss: str = "accuracy_gap"
    method: str = "pareto_testing"
    criteria: Sequence[str] = ()
    veto_margin: int | float | None = None
    runs: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: Naming the one that is out of range.
        """
        for name in ("max_drop", "confidence"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
                raise ValueError(f"certify.{name}: expected a number between 0 and 1 (both excluded), got {value!r}")
        for name, known in (("loss", tuple(RISKS)), ("method", METHODS)):
            if getattr(self, name) not in known:
                raise ValueError(f"certify.{name}: expected one of {list(known)}, got {getattr(self, name)!r}")
        if isinstance(self.criteria, str):
            raise ValueError(f"certify.criteria: expected a list, such as [confidence], got {self.criteria!r}")
        if self.veto_margin is not None:
            number("certify.veto_margin", self.veto_margin, at_least=0, at_most=1)
        for name in self.criteria:
            if name not in EXITS:
                raise ValueError(f"certify.criteria: expected some of {list(EXITS)}, got {name!r}")

    @property
    def risk(self) -> Risk:
        """The loss."""
        return RISKS[self.loss]

    @property
    def in_expectation(self) -> bool:
        """True where the guarantee is about the expected loss, not about a probability."""
        return self.method == "conformal_risk_control"

    @property
    def test(self) -> RiskTest:
        """The test that the method makes of each operating point."""
        if self.in_expectation:
            return ExpectationBound(self.max_drop)
        return (BinomialTest if self.risk.is_binary else HoeffdingBentkusTest)(self.max_drop, self.confidence)

    @property
    def least_examples(self) -> int | None:
        """Examples without which not even an exit that never loses anything can be certified."""
        return examples_needed(self.test.passes, 0.0)


def make_certificate(
    runs: Runs, settings: CertifySettings, thresholds: Sequence[float] | None = None
) -> dict[str, Any]:
    """Find the cheapest operating point whose loss is certified.

    Args:
        runs: Traces of each run by split; the first run's full depth is what losses are measured against.
        settings: The budget and the method.
        thresholds: Values to try instead of the default ones.

    Returns:
        What `certificate.json` holds: ``certificate``, or None and why in ``refusal``; JSON values only.

    Raises:
        ValueError: If a split is missing, too small or unfit, the runs answer other examples, or nobody can leave
            early.
    """
    check_splits(runs, settings)
    first = next(iter(runs))
    criteria = list(settings.criteria) or list(EXITS)
    if settings.method == "pareto_testing":
        chain = front_chain(runs, settings.loss, criteria, thresholds, settings.veto_margin)
    else:
        chain = threshold_chain(runs, settings.loss, criteria, thresholds, settings.max_drop, settings.veto_margin)
    splits = {run: traces.need("certification", "certify") for run, traces in runs.items()}
    reference = splits[first]
    losses = np.stack([losses_of(splits[point.run], reference, point.exit, settings.risk) for point in chain])
    totals = (monotone(losses) if settings.in_expectation else losses).sum(axis=1)
    count = int(certified_prefix(settings.test.passes(totals, len(reference))))
    reported = runs[first].reported
    tested = tested_points(chain[: count + 1], totals[: count + 1], len(reference), settings)
    certified = chain[count - 1] if count > 1 else None  # the first is full depth itself
    return {
        "settings": dataclasses.asdict(settings) | {"criteria": criteria, "runs": list(runs)},
        "split": {
            "name": reference.split,
            "examples": len(reference),
            "fingerprint": split_fingerprint(reference),
        },
        "comparison": compare_splits(reference, reported),
        "sequence": len(chain),
        "tested": tested,
        "certificate": certified and _certificate(splits, certified, tested[count - 1], settings),
        "reported": certified and _on_reported(runs, certified, settings),
        "refusal": None if certified else _refusal(tested, len(reference), settings),
    }


def check_splits(runs: Runs, settings: CertifySettings) -> None:
    """Check that every run has what a certificate needs.

    Raises:
        ValueError: If a split is missing or too small, holds one class, or is not the same in all runs; if the model
            predicts a score.
    """
    first = next(iter(runs))
    for run, traces in runs.items():
        for role in HELD_OUT:
            traces.same_examples(role, runs[first].need(role, "certify"), f"certify.runs: {run}")
        if traces.reported.is_regression:
            raise ValueError(f"certify: its losses are about classes, and {run} predicts a score (regression)")
    calibration = runs[first].need("certification", "certify")
    classes = np.unique(calibration.labels)
    if settings.risk.needs_labels and len(classes) < 2:
        raise ValueError(
            f"certify: all {len(calibration)} labels of the certification split are class {classes[0]}; a certificate "
            "for other classes cannot rest on it: give labels of each, or use certify.loss=inconsistency"
        )
    least = settings.least_examples
    if least is None or len(calibration) < least:
        raise ValueError(
            f"certify: the certification split has {len(calibration)} examples; certifying {settings.max_drop:g} "
            f"{guarantee(settings)} takes at least {least or 'millions'}, even if no loss is seen; raise "
            "certify.max_drop, or train with a larger data.certification_examples"
        )


def guarantee(settings: CertifySettings) -> str:
    """Say in which sense a bound holds."""
    return "in expectation" if settings.in_expectation else f"at {100 * settings.confidence:g} % confidence"


def tested_points(
    chain: Sequence[Candidate], totals: Float[np.ndarray, " points"], examples: int, settings: CertifySettings
) -> list[dict[str, Any]]:
    """Lay out what each tested point lost on the certification split, and how its test came out."""
    test = settings.test
    columns = {"lost": totals, "mean": totals / examples, "passes": test.passes(totals, examples)}
    if isinstance(test, BinomialTest):
        columns |= {"p_value": test.p_value(totals, examples), "upper_bound": test.upper_bound(totals, examples)}
    return [
        {**vars(point), "exit": point.exit.spec} | {name: values[i].item() for name, values in columns.items()}
        for i, point in enumerate(chain)
    ]


def _certificate(
    splits: Mapping[str, Trace], chosen: Candidate, tested: dict[str, Any], settings: CertifySettings
) -> dict[str, Any]:
    """Return what the model itself will carry; depth and cost are those on the certification split."""
    first = next(iter(splits))
    trace, reference = splits[chosen.run], splits[first]
    replayed = replay(trace, chosen.exit)
    flops = trace.costs.executed(replayed)
    depths, counts = np.unique(replayed.exit_depth, return_counts=True)
    return {
        "run": chosen.run,
        "exit": chosen.exit.spec,
        "loss": settings.loss,
        "bound": settings.max_drop,
        "confidence": None if settings.in_expectation else settings.confidence,
        "method": settings.method,
        "examples": len(trace),
        "observed": tested["mean"],
        "split": split_fingerprint(reference),
        "reference": f"full depth of {first}",
        "num_layers": trace.num_layers,
        "average_depth": float(replayed.exit_depth.mean()),
        "exit_shares": {str(d): float(c) / len(trace) for d, c in zip(depths, counts, strict=True)},
        "retention": float(replayed.retention.mean()),
        "gflops": float(flops.mean()) / 1e9,
        "flops_ratio": float(flops.sum() / reference.costs.dense.sum()),
        "profile": Profile.of(measure(replayed.logits, replayed.exit_depth, replayed.tokens_kept)).to_dict(),
    }


def _on_reported(runs: Runs, chosen: Candidate, settings: CertifySettings) -> dict[str, Any]:
    """Measure the certified point on the reported split, which neither chose nor certified it."""
    reference = next(iter(runs.values())).reported
    trace = runs[chosen.run].splits[reference.split]
    point = measure_point(trace, chosen.exit, reference.full_depth)
    delta, value = point.delta, point.metrics[trace.task.metrics[0]]
    return {
        "split": trace.split,
        "examples": len(trace),
        "loss": float(losses_of(trace, reference, chosen.exit, settings.risk).mean()),
        "metric": trace.task.metrics[0],
        "value": None if math.isnan(value) else value,
        "points": None if delta is None else [delta.points, delta.low, delta.high],
        "average_depth": point.avg_depth,
        "flops_ratio": point.flops_ratio,
    }


def _refusal(tested: Sequence[dict[str, Any]], examples: int, settings: CertifySettings) -> dict[str, Any]:
    """Say which point failed first, and how many examples would certify what it lost."""
    failed = next((point for point in tested if not point["passes"]), None)
    if failed is None:
        return {"exit": None, "reason": "no exit is cheaper than full depth on the threshold split"}
    needed = examples_needed(settings.test.passes, failed["mean"]) if failed["mean"] < settings.max_drop else None
    return {
        "exit": failed["exit"],
        "mean": failed["mean"],
        "examples": examples,
        "examples_needed": needed,
        "reason": "the most cautious exits lose too much"
        if failed["mean"] >= settings.max_drop
        else "the split is too small for what the most cautious exits lose",
    }
