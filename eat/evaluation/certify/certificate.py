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

from eat.evaluation.certify.against import check_reference, check_rows
from eat.evaluation.certify.groups import GroupResult, Groups, groups_of, lost_and_gained, pass_in_all, results_of
from eat.evaluation.certify.p_values import examples_needed
from eat.evaluation.certify.risk_control import certified_prefix, monotone
from eat.evaluation.certify.sequence import Runs, TestedPoint, losses_of, points_in_order
from eat.evaluation.certify.settings import CertifySettings
from eat.exits import EXITS
from eat.exits.points import OperatingPoint
from eat.models.granted import EAT
from eat.traces.profile import Profile, measure
from eat.traces.quality import Point, measure_point
from eat.traces.replay import replay
from eat.traces.run_traces import Role, RunTraces, engine_of_trace
from eat.traces.splits import SplitComparison, compare_splits, split_fingerprint
from eat.traces.statistics import Interval
from eat.traces.trace import Trace

HELD_OUT: tuple[Role, ...] = ("threshold", "certification")
INTERVAL = 0.95
IN_EXPECTATION = (
    "in expectation over draws of the certification split and new texts, not with a confidence for this draw: the risk "
    "of the chosen point may pass the bound in nearly half of all draws"
)
"""What Conformal Risk Control guarantees; the other methods' bound holds with the stated confidence over draws."""


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
    by: str | None = None  # what the groups are by, each of which the bound is for; None where it is for all texts
    groups: Mapping[str, int] | None = None  # the groups' names -> examples; None likewise
    engine: str = EAT  # what ran the model: the certificate holds for no other
    bits: int | None = None  # of an activation in the engine's int8 products; None in floating point
    calibration: str | None = (
        None  # the rows on which the engine's ranges were measured, by `rows_digest`; None if none
    )

    def to_json(self) -> dict[str, Any]:
        """Return what files hold of it."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        absent = [name for name in ("fallback", "model", "by", "groups", "bits", "calibration") if values[name] is None]
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
    group: GroupResult | None = None  # where it failed worst, whose examples those are; None likewise


@dataclasses.dataclass(frozen=True)
class ReportedLoss:
    """The mean loss of the certified point on a split that neither chose nor certified it."""

    mean: float
    interval: Interval  # 95 %: Clopper-Pearson's, or of Hoeffding-Bentkus where losses are not just 0 or 1
    p_value: float  # chance of a loss at least as large, were the true mean the certified bound

    @classmethod
    def of(cls, losses: Float[np.ndarray, " examples"], settings: CertifySettings) -> "ReportedLoss":
        """Measure it."""
        top = 0 if settings.risk.is_signed else 1  # losses are tested the other way round as well, as top - losses
        lost, gained = (part.sum(axis=1) for part in lost_and_gained(np.stack([losses, top - losses])))
        test = settings.mean_test(top - settings.max_drop, 0.5 + INTERVAL / 2)
        high, above = test.upper_bound(lost, len(losses), gained)
        _, p_value = test.p_value(lost, len(losses), gained)
        return cls(float(losses.mean()), (top - float(above), float(high)), float(p_value))

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
    groups: Sequence[GroupResult] = ()  # with `by`: of the certified point, or of the first that failed

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
            if self.groups and self.refusal.group is not None:
                refusal["group"] = self.refusal.group.to_json()
            refusal["reason"] = self.refusal.reason
        return {
            "settings": self.settings.to_json(),
            "split": {"name": facts.name, "examples": facts.examples, "fingerprint": self.split},
            "comparison": self.comparison.to_json(),
            "sequence": self.sequence,
            "tested": [point.to_json() for point in self.tested],
            "certificate": self.certificate and self.certificate.to_json(),
            "reported": self.reported and self._on_reported(self.reported),
            "refusal": refusal,
            **({"groups": [group.to_json() for group in self.groups]} if self.groups else {}),
            **({"guarantee": IN_EXPECTATION} if self.settings.in_expectation else {}),
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
    runs: Runs,
    settings: CertifySettings,
    thresholds: Mapping[str, Sequence[float]] = MappingProxyType({}),
    dense: RunTraces | None = None,
) -> Certification:
    """Find the cheapest operating point whose loss is certified.

    ``thresholds`` are criterion -> those to try instead of the default ones. Losses are measured against the full depth
    of ``dense``, where it is given, else of the first run.

    Raises:
        ValueError: If a split or a group is missing, too small or of one class, the runs answer other examples, the
            model predicts a score, or no sequence can leave early.
    """
    check_splits(runs, settings)
    first = next(iter(runs))
    if dense is not None:
        check_reference(dense, runs[first])
    settings = dataclasses.replace(
        settings,
        criteria=list(settings.criteria) or list(EXITS),
        runs=list(runs),
        reference=None if dense is None else dense.name,
    )
    chain = points_in_order(runs, settings, thresholds, dense)
    splits = {run: traces.need("certification", "certify") for run, traces in runs.items()}
    own, reported = splits[first], runs[first].reported
    against = runs[first] if dense is None else dense
    reference, full = against.splits["certification"], against.splits[reported.split]
    groups = groups_of(own, settings.by, runs[first].need("threshold", "certify"))
    losses = np.stack([losses_of(splits[point.run], reference, point.exit, settings.risk) for point in chain])
    losses = monotone(losses) if settings.in_expectation else losses
    count = int(certified_prefix(pass_in_all(losses, groups, settings.test)))
    results = results_of(losses[: count + 1], groups, settings.test)
    tested = [_tested(point, result, len(own)) for point, result in zip(chain, results, strict=False)]
    result = Certification(
        settings=settings,
        split=split_fingerprint(own),
        comparison=compare_splits(own, reported),
        sequence=len(chain),
        tested=tested,
    )
    if count <= (1 if dense is None else 0):  # the first is full depth itself, which differs from a dense run's
        failed = results[count] if count < len(results) else ()
        return dataclasses.replace(
            result, refusal=_refusal(tested, failed, settings), groups=failed if settings.by else ()
        )
    certified = tested[count - 1]
    trace = runs[certified.run].splits[reported.split]
    return dataclasses.replace(
        result,
        certificate=_certificate(splits, certified, settings, against, groups),
        reported=measure_point(trace, certified.exit, full.full_depth),
        reported_loss=ReportedLoss.of(losses_of(trace, full, certified.exit, settings.risk), settings),
        groups=results[count - 1] if settings.by else (),
    )


def check_splits(runs: Runs, settings: CertifySettings) -> None:
    """Check that every run has what a certificate needs."""
    first = next(iter(runs))
    for run, traces in runs.items():
        for role in HELD_OUT:
            runs[first].need(role, "certify")
        for split in (*HELD_OUT, runs[first].main):
            check_rows(traces, runs[first], split, f"certify.runs: {run}")
        if traces.reported.is_regression:
            raise ValueError(f"certify: its losses are about classes, and {run} predicts a score (regression)")
    calibration = runs[first].need("certification", "certify")
    classes = np.unique(calibration.labels, axis=0)
    if settings.risk.needs_labels and len(classes) < 2:
        raise ValueError(
            f"certify: all {len(calibration)} labels of the certification split are class {classes[0]}; a certificate "
            "for other classes cannot rest on it: give labels of each, or use certify.loss=inconsistency"
        )
    least = settings.least_examples
    sense = f"{settings.max_drop:g} " + (
        "in expectation" if settings.in_expectation else f"at {100 * settings.confidence:g} % confidence"
    )
    if least is None or len(calibration) < least:
        raise ValueError(
            f"certify: the certification split has {len(calibration)} examples; certifying {sense} takes at least "
            f"{least or 'millions'}, even if no loss is seen; raise certify.max_drop, or train with a larger "
            "data.certification_examples"
        )
    if settings.by is not None:
        groups = groups_of(calibration, settings.by, runs[first].need("threshold", "certify"))
        groups.check(settings.by, least, sense)


def _tested(point: TestedPoint, groups: Sequence[GroupResult], examples: int) -> TestedPoint:
    """Add what a point lost on the certification split, and how its test came out: in the worst of the groups."""
    lost = sum(group.lost - group.gained for group in groups)
    return dataclasses.replace(
        point,
        lost=lost,
        mean=lost / examples,
        passes=all(group.passes for group in groups),
        p_value=max((group.p_value for group in groups if group.p_value is not None), default=None),
        upper_bound=max((group.upper_bound for group in groups if group.upper_bound is not None), default=None),
    )


def _certificate(
    splits: Mapping[str, Trace], chosen: TestedPoint, settings: CertifySettings, against: RunTraces, groups: Groups
) -> Certificate:
    trace, reference = splits[chosen.run], against.splits["certification"]
    engine, served = engine_of_trace(reference), engine_of_trace(trace)
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
        split=split_fingerprint(next(iter(splits.values()))),
        reference=f"full depth of {against.name}" + ("" if engine.is_eat else f" in {engine.label}"),
        num_layers=trace.num_layers,
        average_depth=float(replayed.exit_depth.mean()),
        exit_shares={str(d): float(c) / len(trace) for d, c in zip(depths, counts, strict=True)},
        retention=float(replayed.retention.mean()),
        gflops=float(flops.mean()) / 1e9,
        flops_ratio=float(flops.sum() / reference.costs.dense.sum()),
        profile=Profile.of(
            measure(replayed.logits, replayed.exit_depth, replayed.tokens_kept, trace.multi_label)
        ).to_dict(),
        by=settings.by,
        groups=dict(zip(groups.names, groups.sizes, strict=True)) if settings.by else None,
        engine=served.name,
        bits=served.bits,
        calibration=trace.metadata.get("calibration"),
    )


def _refusal(tested: Sequence[TestedPoint], groups: Sequence[GroupResult], settings: CertifySettings) -> Refusal:
    """Name the point that failed first, and how many examples would certify what it lost in its worst group."""
    failed = next((point for point in tested if not point.passes), None)
    if failed is None:
        return Refusal("no exit is cheaper than full depth on the threshold split")
    worst = max((group for group in groups if not group.passes), key=lambda group: (group.p_value or 0, group.mean))
    if worst.mean >= settings.max_drop:
        return Refusal("the most cautious exits lose too much", failed, group=worst)
    test, gains = settings.test, worst.gained / worst.examples
    needed = examples_needed(lambda lost, n: test.passes(lost, n, np.floor(gains * n)), worst.lost / worst.examples)
    return Refusal("the split is too small for what the most cautious exits lose", failed, needed, worst)
