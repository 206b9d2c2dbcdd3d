"""Certify the cheapest operating point whose loss to full depth is controlled, or refuse with the reason.

What is tested, and in which order, comes from the threshold split; the certification split is read by the test alone.
The guarantee is about texts like those of the certification split. Each certificate stands for itself: certifying again
with other settings until something passes is not covered.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from eat.evaluation.certify.p_values import examples_needed
from eat.evaluation.certify.risk_control import BinomialTest, certified_prefix, monotone
from eat.evaluation.certify.sequence import Runs, TestedPoint, losses_of, points_in_order
from eat.evaluation.certify.settings import CertifySettings
from eat.exits import EXITS
from eat.exits.points import OperatingPoint
from eat.models.granted import EAT
from eat.traces.profile import Profile, measure
from eat.traces.quality import Point, measure_point
from eat.traces.replay import replay
from eat.traces.run_traces import Role, engine_of_trace
from eat.traces.splits import SplitComparison, compare_splits, split_fingerprint
from eat.traces.statistics import Interval
from eat.traces.trace import Trace

HELD_OUT: tuple[Role, ...] = ("threshold", "certification")
INTERVAL = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certificate:
    """What a saved model carries of its certificate; depth and cost are those on the certification split."""

    run: str
    exit: OperatingPoint  # the certified operating point
    loss: str  # name in `RISKS`
    bound: int | float  # what its mean is certified to be at most
    confidence: int | float | None  # with which probability; None where the guarantee is one in expectation
    method: str
    examples: int
    observed: float  # mean loss on the certification split, whose fingerprint is ``split``
    split: str
    reference: str  # what losses are measured against
    num_layers: int
    average_depth: float
    exit_shares: Mapping[str, float]  # depth, as text -> share of the examples that leave there
    retention: float  # mean share of tokens in the last executed block
    gflops: float  # mean executed work per example, in 10^9 operations
    flops_ratio: float  # executed work / that of the reference, dense at full depth
    profile: Mapping[str, Any]  # what certified answers look like, as `eat.traces.profile.Profile` writes it
    caveat: str | None = None  # what it rests on besides, where weights were trained elsewhere
    fallback: Mapping[str, Any] | None = None  # pruner of the reference, where that is another run (``pruner``)
    model: str | None = None  # fingerprint of the model that carries it; None before it is stored
    engine: str = EAT  # what ran the model: the certificate holds for no other
    bits: int | None = None  # of an activation in the engine's int8 products; None in floating point

    def to_json(self) -> dict[str, Any]:
        """Return what files hold of it."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        absent = [name for name in ("fallback", "model", "bits") if values[name] is None]
        absent += ["engine"] if self.engine == EAT else []  # as certificates were before there were others
        return {key: value for key, value in values.items() if key not in absent} | {"exit": self.exit.spec}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Certificate":
        """Read back what `to_json` returned."""
        known = {key: value for key, value in values.items() if key != "digest"}  # of the saved model's own copy
        return cls(**{**known, "exit": OperatingPoint.of(values["exit"])})


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why nothing was certified."""

    reason: str  # in words
    failed: TestedPoint | None = None  # the first point that failed; None where there was nothing to test
    examples_needed: int | None = None  # examples that would certify what it lost; None where none would


@dataclasses.dataclass(frozen=True)
class ReportedLoss:
    """The mean loss of the certified point on a split that neither chose nor certified it."""

    mean: float
    interval: Interval  # 95 %: Clopper-Pearson's, or of Hoeffding-Bentkus where losses are not just 0 or 1
    p_value: float  # chance of a loss at least as large, were the true mean the certified bound

    @classmethod
    def of(cls, losses: Float[np.ndarray, " examples"], settings: CertifySettings) -> "ReportedLoss":
        """Measure it."""
        sums = np.array(
            [losses.sum(), (1 - losses).sum()]
        )  # what was lost, and what was not: tested the other way round
        test = settings.binomial_test(1 - settings.max_drop, 0.5 + INTERVAL / 2)
        high, above = test.upper_bound(sums, len(losses))
        _, p_value = test.p_value(sums, len(losses))
        return cls(float(losses.mean()), (1 - float(above), float(high)), float(p_value))

    def to_json(self) -> dict[str, Any]:
        """Return what `certificate.json` holds of it."""
        return {"loss": self.mean, "loss_interval": list(self.interval), "loss_p_value": self.p_value}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certification:
    """What came of an attempt to certify: either ``certificate`` and ``reported``, or ``refusal``."""

    settings: CertifySettings  # what was asked for, with the criteria and the names of the runs
    split: str  # fingerprint of the certification split
    comparison: SplitComparison  # that split beside the reported one
    sequence: int  # operating points that were to be tested
    tested: Sequence[TestedPoint]  # those that were, until the first that failed
    certificate: Certificate | None = None  # the certificate
    reported: Point | None = None  # the certified point on the reported split, which neither chose nor certified it
    reported_loss: ReportedLoss | None = None  # its mean loss there
    refusal: Refusal | None = None  # why there is none

    def to_json(self) -> dict[str, Any]:
        """Return what `certificate.json` holds."""
        facts = self.comparison.splits[0]
        refusal: dict[str, Any] | None = None
        if self.refusal is not None:
            failed = self.refusal.failed
            refusal = {"exit": failed and failed.exit.spec}
            if failed is not None:
                needed = self.refusal.examples_needed
                refusal |= {"mean": failed.mean, "examples": facts.examples, "examples_needed": needed}
            refusal["reason"] = self.refusal.reason
        return {
            "settings": dataclasses.asdict(self.settings),
            "split": {"name": facts.name, "examples": facts.examples, "fingerprint": self.split},
            "comparison": self.comparison.to_json(),
            "sequence": self.sequence,
            "tested": [point.to_json() for point in self.tested],
            "certificate": self.certificate and self.certificate.to_json(),
            "reported": self.reported and self._on_reported(self.reported),
            "refusal": refusal,
        }

    def _on_reported(self, point: Point) -> dict[str, Any]:
        facts, delta = self.comparison.splits[1], point.delta
        value = point.metrics[facts.metric]
        return {
            "split": facts.name,
            "examples": facts.examples,
            **(self.reported_loss.to_json() if self.reported_loss else {}),
            "metric": facts.metric,
            "value": None if math.isnan(value) else value,
            "points": None if delta is None else [delta.points, delta.low, delta.high],
            "average_depth": point.avg_depth,
            "flops_ratio": point.flops_ratio,
        }


def make_certificate(
    runs: Runs, settings: CertifySettings, thresholds: Mapping[str, Sequence[float]] = MappingProxyType({})
) -> Certification:
    """Find the cheapest operating point whose loss is certified.

    ``thresholds`` are criterion -> those to try instead of the default ones.

    Raises:
        ValueError: If a split is missing, too small or of one class, the runs answer other examples, the model predicts
            a score, or no sequence can leave early.
    """
    check_splits(runs, settings)
    first = next(iter(runs))
    settings = dataclasses.replace(settings, criteria=list(settings.criteria) or list(EXITS), runs=list(runs))
    chain = points_in_order(runs, settings, thresholds)
    splits = {run: traces.need("certification", "certify") for run, traces in runs.items()}
    reference, reported = splits[first], runs[first].reported
    losses = np.stack([losses_of(splits[point.run], reference, point.exit, settings.risk) for point in chain])
    totals = (monotone(losses) if settings.in_expectation else losses).sum(axis=1)
    count = int(certified_prefix(settings.test.passes(totals, len(reference))))
    tested = _tested(chain[: count + 1], totals[: count + 1], len(reference), settings)
    result = Certification(
        settings=settings,
        split=split_fingerprint(reference),
        comparison=compare_splits(reference, reported),
        sequence=len(chain),
        tested=tested,
    )
    if count <= 1:  # the first is full depth itself
        return dataclasses.replace(result, refusal=_refusal(tested, settings))
    certified = tested[count - 1]
    trace = runs[certified.run].splits[reported.split]
    return dataclasses.replace(
        result,
        certificate=_certificate(splits, certified, settings),
        reported=measure_point(trace, certified.exit, reported.full_depth),
        reported_loss=ReportedLoss.of(losses_of(trace, reported, certified.exit, settings.risk), settings),
    )


def check_splits(runs: Runs, settings: CertifySettings) -> None:
    """Check that every run has what a certificate needs."""
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
        sense = "in expectation" if settings.in_expectation else f"at {100 * settings.confidence:g} % confidence"
        raise ValueError(
            f"certify: the certification split has {len(calibration)} examples; certifying {settings.max_drop:g} "
            f"{sense} takes at least {least or 'millions'}, even if no loss is seen; raise "
            "certify.max_drop, or train with a larger data.certification_examples"
        )


def _tested(
    chain: Sequence[TestedPoint], totals: Float[np.ndarray, " points"], examples: int, settings: CertifySettings
) -> list[TestedPoint]:
    """Add what each point lost on the certification split, and how its test came out."""
    test = settings.test
    columns = {"lost": totals, "mean": totals / examples, "passes": test.passes(totals, examples)}
    if isinstance(test, BinomialTest):
        columns |= {"p_value": test.p_value(totals, examples), "upper_bound": test.upper_bound(totals, examples)}
    return [
        dataclasses.replace(point, **{name: values[i].item() for name, values in columns.items()})
        for i, point in enumerate(chain)
    ]


def _certificate(splits: Mapping[str, Trace], chosen: TestedPoint, settings: CertifySettings) -> Certificate:
    first = next(iter(splits))
    trace, reference = splits[chosen.run], splits[first]
    engine = engine_of_trace(reference)
    replayed = replay(trace, chosen.exit)
    flops = replayed.flops(trace.costs)
    depths, counts = np.unique(replayed.exit_depth, return_counts=True)
    return Certificate(
        run=chosen.run,
        exit=chosen.exit,
        loss=settings.loss,
        bound=settings.max_drop,
        confidence=None if settings.in_expectation else settings.confidence,
        method=settings.method,
        examples=len(trace),
        observed=chosen.mean or 0.0,
        split=split_fingerprint(reference),
        reference=f"full depth of {first}" + ("" if engine.is_eat else f" in {engine.label}"),
        num_layers=trace.num_layers,
        average_depth=float(replayed.exit_depth.mean()),
        exit_shares={str(d): float(c) / len(trace) for d, c in zip(depths, counts, strict=True)},
        retention=float(replayed.retention.mean()),
        gflops=float(flops.mean()) / 1e9,
        flops_ratio=float(flops.sum() / reference.costs.dense.sum()),
        profile=Profile.of(measure(replayed.logits, replayed.exit_depth, replayed.tokens_kept)).to_dict(),
        engine=engine.name,
        bits=engine.bits,
    )


def _refusal(tested: Sequence[TestedPoint], settings: CertifySettings) -> Refusal:
    """Name the point that failed first, and how many examples would certify what it lost."""
    failed = next((point for point in tested if not point.passes), None)
    if failed is None or failed.mean is None:
        return Refusal("no exit is cheaper than full depth on the threshold split")
    if failed.mean >= settings.max_drop:
        return Refusal("the most cautious exits lose too much", failed)
    needed = examples_needed(settings.test.passes, failed.mean)
    return Refusal("the split is too small for what the most cautious exits lose", failed, needed)
