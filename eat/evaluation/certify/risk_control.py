"""Risk control: which operating points of a sequence are certified, at a stated confidence or in expectation.

The sequence, from cautious to fast, is fixed before the calibration losses are seen. Everything here is pure; leading
axes of the totals are independent draws, so that a simulation is one call.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from eat.evaluation.certify.p_values import (
    ROUNDING,
    Sizes,
    Totals,
    betting_p_value,
    betting_upper_bound,
    binomial_p_value,
    binomial_upper_bound,
    hoeffding_bentkus_p_value,
    hoeffding_bentkus_upper_bound,
)


@dataclasses.dataclass(frozen=True)
class BinomialTest:
    """Exact test of losses that are 0 or 1: the mean loss exceeds ``max_risk`` with p-value <= 1 - ``confidence``."""

    max_risk: float  # the bound, in (0, 1)
    confidence: float  # of the certificate, in (0, 1)

    _p_value = staticmethod(binomial_p_value)
    _upper_bound = staticmethod(binomial_upper_bound)

    def p_value(self, total: Totals, examples: Sizes, gained: Totals | int = 0) -> Float[np.ndarray, "..."]:
        """Return the p-values of sums of losses; of signed ones ``gained`` is what was gained, counted apart."""
        return self._p_value(total, examples, self.max_risk)

    def passes(self, total: Totals, examples: Sizes, gained: Totals | int = 0) -> Bool[np.ndarray, "..."]:
        """Return True where the risk is certified to be at most the bound, each sum taken alone."""
        return self.p_value(total, examples, gained) <= 1 - self.confidence

    def upper_bound(self, total: Totals, examples: int, gained: Totals | int = 0) -> Float[np.ndarray, "..."]:
        """Return the smallest bounds that would pass."""
        return self._upper_bound(total, examples, self.confidence)


class HoeffdingBentkusTest(BinomialTest):
    """The same for real-valued losses in [0, 1]."""

    _p_value = staticmethod(hoeffding_bentkus_p_value)
    _upper_bound = staticmethod(hoeffding_bentkus_upper_bound)


class SignedTest(BinomialTest):
    """The same for differences of -1, 0 and 1: what was gained is set off against what was lost."""

    def p_value(self, total: Totals, examples: Sizes, gained: Totals | int = 0) -> Float[np.ndarray, "..."]:
        """Return the p-values."""
        return betting_p_value(total, examples, self.max_risk, gained)

    def upper_bound(self, total: Totals, examples: int, gained: Totals | int = 0) -> Float[np.ndarray, "..."]:
        """Return the smallest bounds that would pass."""
        return betting_upper_bound(total, examples, self.confidence, gained)


@dataclasses.dataclass(frozen=True)
class ExpectationBound:
    """Conformal Risk Control (Angelopoulos et al. 2022, arXiv:2208.02814, eq. 4) for losses of at most 1.

    Its guarantee is an expectation over draws of the certification split, and none for one draw: in nearly half of them
    the risk of the chosen point passes the bound.
    """

    max_risk: float  # the bound on the expected loss of a new example, over calibration sets too

    def passes(self, total: Totals, examples: Sizes, gained: Totals | int = 0) -> Bool[np.ndarray, "..."]:
        """Return True where n / (n + 1) mean + 1 / (n + 1) <= bound; the losses must not fall along the sequence."""
        return np.asarray((total - gained + 1) / (np.asarray(examples) + 1) <= self.max_risk + ROUNDING)


RiskTest = BinomialTest | ExpectationBound
"""Decides from a sum of losses whether a risk is controlled."""


def certified_prefix(passes: Bool[np.ndarray, "*draws points"]) -> Int[np.ndarray, "*draws"]:
    """Count the points before the first that does not pass.

    This is fixed-sequence testing (Learn then Test, Angelopoulos et al. 2021, arXiv:2110.01052): each hypothesis is
    tested at the full level, in an order fixed beforehand, and the first that stands ends the test; with probability at
    least the confidence, all points counted have a risk within the bound.
    """
    return np.asarray(np.cumprod(passes, axis=-1).sum(axis=-1))


def monotone(losses: Num[np.ndarray, "points examples"]) -> Num[np.ndarray, "points examples"]:
    """Return each example's largest loss so far along a sequence from cautious to fast.

    Conformal Risk Control needs losses that never fall along the sequence; this is the smallest such loss that is at
    least the given one, so that a bound on its mean bounds the loss itself.
    """
    return np.maximum.accumulate(losses, axis=0)


def pareto_chain(
    risk: Float[np.ndarray, " points"], ties: Float[np.ndarray, " points"], cost: Float[np.ndarray, " points"]
) -> Int[np.ndarray, " chain"]:
    """Order the Pareto front of several knobs from the least risk to the least cost.

    Pareto Testing (Laufer-Goldshtein et al. 2023, arXiv:2210.07913): front and order come from one split, and the
    certificate from another, by fixed-sequence testing along the front. Order by risk is order by p-value there.
    On a small split many points have the same risk, above all none; where they do, a smoother loss tells them apart,
    so that the front keeps cautious points in between. Along the indices that come back risk rises and cost falls.
    """
    if len(risk) == 0:
        return np.zeros(0, dtype=np.int64)
    order = np.lexsort((cost, ties, np.round(risk, 12)))
    cheapest_before = np.minimum.accumulate(np.concatenate(([np.inf], cost[order][:-1])))
    return order[cost[order] < cheapest_before]


def cost_chain(
    families: Sequence[str], risk: Float[np.ndarray, " points"], cost: Float[np.ndarray, " points"], max_risk: float
) -> Int[np.ndarray, " chain"]:
    """Choose the family of points, differing in their threshold alone, that has the cheapest point within a risk.

    Risk and cost are those of each point on the threshold split. The family's indices come from dear to cheap, equally
    dear points by risk.
    """
    if len(risk) == 0:
        return np.zeros(0, dtype=np.int64)
    fitting = np.flatnonzero(risk <= max_risk + ROUNDING)
    chosen = families[fitting[np.argmin(cost[fitting])]] if len(fitting) else families[int(np.argmin(risk))]
    members = np.flatnonzero([family == chosen for family in families])
    return members[np.lexsort((risk[members], -cost[members]))]
