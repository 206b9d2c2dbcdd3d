"""What splits are like and how they differ: a choice or a guarantee is about texts like those it was made on."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from eat.traces.quality import metric_values, predictions, same_answers
from eat.traces.statistics import Interval, mean_interval, wilson_interval
from eat.traces.trace import Trace

SIGNIFICANT = 0.05
PERCENTILES = (5, 50, 95)


@dataclasses.dataclass(frozen=True)
class SplitFacts:
    """Lengths of a split and the model's answers to it at full depth."""

    name: str  # the split
    data: str  # "complete", "subset n of N" or "held out"
    examples: int  # rows
    mean_length: float  # mean tokens per example
    length_interval: Interval  # 95 % interval of the mean length
    length_percentiles: Mapping[str, float]  # percentile (`PERCENTILES`, as text) -> tokens per example
    metric: str  # name of the primary metric
    full_depth: float  # the primary metric at full depth
    right: int | None  # right answers (all labels) at full depth; None in regression
    accuracy_interval: Interval | None  # wilson 95 % interval of their share; None in regression

    @classmethod
    def of(cls, trace: Trace) -> "SplitFacts":
        """Describe the split of a trace."""
        metric, value = next(iter(metric_values(trace.task, trace.labels, trace.full_depth).items()))
        right = (
            None
            if trace.is_regression
            else int(same_answers(predictions(trace.full_depth, trace.multi_label), trace.labels).sum())
        )
        return cls(
            name=trace.split,
            data=trace.metadata.get("data", ""),
            examples=len(trace),
            mean_length=float(trace.lengths.mean()),
            length_interval=mean_interval(trace.lengths),
            length_percentiles={str(q): float(np.percentile(trace.lengths, q)) for q in PERCENTILES},
            metric=metric,
            full_depth=value,
            right=right,
            accuracy_interval=None if right is None else wilson_interval(right, len(trace)),
        )

    @property
    def interval(self) -> Interval | None:
        """Interval of the primary metric, where that is accuracy."""
        return self.accuracy_interval if self.metric == "accuracy" else None

    def differences(self, other: "SplitFacts") -> list[str]:
        """Name the respects in which two splits differ: where their 95 % intervals do not overlap."""
        found = []
        if _apart(self.length_interval, other.length_interval):
            found.append("length")
        if self.interval and other.interval and _apart(self.interval, other.interval):
            found.append("full-depth accuracy")
        return found

    def to_json(self) -> dict[str, Any]:
        """Return what a certificate's file holds of a split, of a classifier."""
        return {
            "name": self.name,
            "examples": self.examples,
            "mean_length": self.mean_length,
            "length_percentiles": dict(self.length_percentiles),
            "right": self.right,
            "full_depth_accuracy": (self.right or 0) / self.examples,
            "accuracy_interval": list(self.accuracy_interval or ()),
        }


@dataclasses.dataclass(frozen=True)
class SplitComparison:
    """Two splits side by side."""

    splits: tuple[SplitFacts, SplitFacts]  # the certification split and the reported one
    p_values: Mapping[str, float]  # two-sample tests by what they compare

    @property
    def differs_in(self) -> list[str]:
        """In which respects they differ: p below `SIGNIFICANT`."""
        return [name for name, p_value in self.p_values.items() if p_value < SIGNIFICANT]

    def to_json(self) -> dict[str, Any]:
        """Return what a certificate's file holds of it."""
        facts = [facts.to_json() for facts in self.splits]
        return {"splits": facts, "p_values": dict(self.p_values), "differs_in": self.differs_in}


def split_fingerprint(trace: Trace) -> str:
    """Name the examples of a split by their labels and lengths, in order: the same in every run that holds them out."""
    digest = hashlib.sha256(trace.split.encode())
    digest.update(np.ascontiguousarray(trace.labels.astype("<f8")).tobytes())
    digest.update(np.ascontiguousarray(trace.lengths.astype("<i8")).tobytes())
    return digest.hexdigest()[:16]


def compare_splits(ours: Trace, reported: Trace) -> SplitComparison:
    """Compare lengths (Mann-Whitney U) and full-depth accuracy (Fisher's exact test) of two splits of a classifier."""
    facts = SplitFacts.of(ours), SplitFacts.of(reported)
    table = [[f.right, f.examples - (f.right or 0)] for f in facts]
    p_values = {
        "length": float(stats.mannwhitneyu(ours.lengths, reported.lengths).pvalue),
        "full-depth accuracy": float(stats.fisher_exact(table).pvalue),
    }
    return SplitComparison(facts, p_values)


def _apart(one: Interval, other: Interval) -> bool:
    return one[1] < other[0] or other[1] < one[0]
