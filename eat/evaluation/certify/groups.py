"""Groups of examples whose risks are bounded each by itself: classes, thirds by length, or values of a column.

A point is certified only where every group's bound holds. No level is split between the groups: "some group's risk
exceeds the bound" is a union of hypotheses, and given up only where each of them is, so the largest p-value is one of
the union (intersection-union test, Berger 1982). Fixed-sequence testing takes these as it takes those of one risk.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from eat.checks import closest, shown
from eat.evaluation.certify.risk_control import BinomialTest, RiskTest
from eat.traces.predictions import LINE
from eat.traces.trace import Trace

BY = ("label", "length")
"""What every trace can be grouped by, beside its columns."""


@dataclasses.dataclass(frozen=True, eq=False)
class Groups:
    """The group of each example of a split."""

    names: tuple[str, ...]  # of the groups
    of: Int[np.ndarray, " examples"]  # place of each example's group among them

    @property
    def sizes(self) -> list[int]:
        """Examples of each group."""
        return np.bincount(self.of, minlength=len(self.names)).tolist()

    def sums(self, values: Float[np.ndarray, "points examples"]) -> Float[np.ndarray, "groups points"]:
        """Return the sums of each group's values."""
        return np.stack([values.compress(self.of == group, axis=1).sum(axis=1) for group in range(len(self.names))])

    def worst_mean(self, values: Float[np.ndarray, " examples"]) -> float:
        """Return the mean of the group that has the largest, of those that have examples."""
        return max(float(values[self.of == group].mean()) for group in range(len(self.names)) if self.sizes[group])

    def check(self, by: str, least: int, sense: str) -> None:
        """Check that each has the examples that a certificate takes, even if no loss is seen.

        Raises:
            ValueError: Naming the smallest that has not.
        """
        size, name = min(zip(self.sizes, self.names, strict=True))
        if size < least:
            raise ValueError(
                f"certify.by: group {shown(name)} of {by} has {size} examples in the certification split; certifying "
                f"{sense} takes at least {least} of each group, even if no loss is seen; raise certify.max_drop, or "
                "train with a larger data.certification_examples"
            )


@dataclasses.dataclass(frozen=True)
class GroupResult:
    """What an operating point lost in one group of the certification split."""

    name: str
    examples: int
    lost: float  # sum of the losses, without what was gained
    gained: float  # sum of the gains, of a signed loss
    mean: float
    passes: bool
    p_value: float | None  # of the hypothesis that the risk is too large; None where the guarantee is in expectation
    upper_bound: float | None  # of the risk of this group and point taken alone; None likewise

    def to_json(self) -> dict[str, Any]:
        """Return what files hold of it."""
        return {key: value for key, value in vars(self).items() if value is not None}


def groups_of(trace: Trace, by: str | None, held_out: Trace) -> Groups:
    """Return the groups of a split's examples; one of all where ``by`` is None.

    Thirds by length, and which values a column has, come from ``held_out``, the threshold split, and a column's from
    both: groups are fixed before losses on the certification split are seen.

    Raises:
        ValueError: If there is no such column in both.
    """
    if by is None:
        return Groups(("all",), np.zeros(len(trace), dtype=np.int64))
    if by == "label":
        if trace.multi_label:
            raise ValueError(
                "certify.by: expected another than label in a multi-label task: texts have several or none"
            )
        return Groups(tuple(trace.task.label_names), trace.labels.astype(np.int64))
    if by == "length":
        cuts = np.unique(np.quantile(held_out.lengths, [1 / 3, 2 / 3], method="lower"))
        starts = [1, *(int(cut) + 1 for cut in cuts)]
        ends = [*(f"{start} to {int(cut)} tokens" for start, cut in zip(starts, cuts, strict=False))]
        return Groups((*ends, f"{starts[-1]} tokens or more"), np.searchsorted(cuts, trace.lengths))
    known = [*BY, *sorted((held_out.columns.keys() & trace.columns.keys()) - {LINE})]
    if by not in known:
        raise ValueError(f"certify.by: expected one of {known}, got {shown(by)}{closest(by, known)}")
    values = [np.asarray(split.columns[by]) for split in (held_out, trace)]
    values = [column if column.dtype.kind in "biu" else column.astype(str) for column in values]
    found = np.unique(np.concatenate(values))
    return Groups(tuple(map(str, found.tolist())), np.searchsorted(found, values[1]))


def lost_and_gained(losses: Float[np.ndarray, "*all"]) -> tuple[Float[np.ndarray, "*all"], Float[np.ndarray, "*all"]]:
    """Part losses into what was lost and, of signed ones, what was gained, both 0 or above."""
    return losses.clip(0), np.where(losses < 0, -losses, 0.0)


def pass_in_all(
    losses: Float[np.ndarray, "points examples"], groups: Groups, test: RiskTest
) -> Bool[np.ndarray, " points"]:
    """Return True for the operating points whose risk is controlled in every group, each point taken alone."""
    lost, gained = map(groups.sums, lost_and_gained(losses))
    return np.all([test.passes(*of) for of in zip(lost, groups.sizes, gained, strict=True)], axis=0)


def results_of(
    losses: Float[np.ndarray, "points examples"], groups: Groups, test: RiskTest
) -> list[tuple[GroupResult, ...]]:
    """Test each operating point in each group; of each point the results of its groups come together."""
    lost, gained = map(groups.sums, lost_and_gained(losses))
    by_group = []
    for name, size, bad, good in zip(groups.names, groups.sizes, lost, gained, strict=True):
        columns = {"lost": bad, "gained": good, "mean": (bad - good) / size, "passes": test.passes(bad, size, good)}
        if isinstance(test, BinomialTest):
            columns |= {"p_value": test.p_value(bad, size, good), "upper_bound": test.upper_bound(bad, size, good)}
        columns = {"p_value": [None] * len(bad), "upper_bound": [None] * len(bad)} | {
            key: values.tolist() for key, values in columns.items()
        }
        rows = zip(*columns.values(), strict=True)
        by_group.append([GroupResult(name, size, **dict(zip(columns, row, strict=True))) for row in rows])
    return list(zip(*by_group, strict=True))
