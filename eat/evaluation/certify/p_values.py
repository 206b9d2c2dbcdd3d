"""How unlikely a small observed loss is if the true risk were too high; and which risk it leaves possible.

A p-value here is for the hypothesis "the mean loss of the population exceeds ``max_risk``": where it is at most
1 - confidence, the hypothesis is given up and the risk is certified. All functions take arrays; ``total`` is the sum of
the losses of so many examples, and ``max_risk`` lies in (0, 1), of signed differences in (-1, 1).
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int, Num
from scipy import stats
from scipy.special import logsumexp

Totals = Num[np.ndarray, "..."]
Sizes = int | Int[np.ndarray, "..."]
ROUNDING = 1e-9
"""By so much a sum of losses may be off: it must not count as one more example."""
MOST_EXAMPLES = 2_000_000
BETS = np.linspace(0.05, 0.95, 10)
"""Parts of its capital that a signed test stakes on a loss of 1, from the most careful bet to the boldest."""
_BISECTIONS = 50


def binomial_p_value(total: Totals, examples: Sizes, max_risk: float) -> Float[np.ndarray, "..."]:
    """Exact p-value for losses of 0 and 1: P(Bin(n, max_risk) <= total)."""
    return np.asarray(stats.binom.cdf(np.floor(total + ROUNDING), examples, max_risk))


def hoeffding_bentkus_p_value(
    total: Totals, examples: Sizes, max_risk: float | Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """p-value for losses in [0, 1] (Bates et al. 2021, arXiv:2101.02703; used by Learn then Test, arXiv:2110.01052).

    min(exp(-n h(min(mean, a), a)), e P(Bin(n, a) <= ceil(n mean))) with h(x, a) = x log(x / a) + (1 - x) log((1 - x) /
    (1 - a)) and a = max_risk; 1 where that is above 1.
    """
    mean = np.minimum(total / examples, max_risk)
    relative = _entropy_term(mean, max_risk) + _entropy_term(1 - mean, 1 - max_risk)
    hoeffding = np.exp(-examples * relative)
    bentkus = np.e * stats.binom.cdf(np.ceil(total - ROUNDING), examples, max_risk)
    return np.asarray(np.minimum(np.minimum(hoeffding, bentkus), 1.0))


def binomial_upper_bound(total: Totals, examples: int, confidence: float) -> Float[np.ndarray, "..."]:
    """Exact one-sided upper bound of a share (Clopper and Pearson 1934): risks above it are excluded."""
    return np.where(total >= examples, 1.0, stats.beta.ppf(confidence, total + 1, np.maximum(examples - total, 1)))


def hoeffding_bentkus_upper_bound(total: Totals, examples: int, confidence: float) -> Float[np.ndarray, "..."]:
    """Upper bound of a mean loss in [0, 1]: the smallest risk that the Hoeffding-Bentkus p-value excludes."""
    return _smallest_excluded(
        lambda risk: hoeffding_bentkus_p_value(total, examples, risk), total / examples, confidence, least=0.0
    )


def betting_p_value(
    lost: Totals, examples: Sizes, max_risk: float | Float[np.ndarray, "..."], gained: Totals | int
) -> Float[np.ndarray, "..."]:
    """p-value for differences of -1, 0 and 1 (Waudby-Smith and Ramdas 2024, arXiv:2010.09686, section 4).

    The inverse of the mean capital of `BETS` against "the mean is above a", a = max_risk in (-1, 1): a bet multiplies
    its capital by 1 + s (a - x) / (1 - a), x the difference, whose mean is then below 1, so that by Markov's inequality
    the capital reaches 1 / u with probability at most u. It knows how rarely answers differ, which a bound for the
    range [-1, 1] alone does not.

    Args:
        lost: Number of differences of 1.
        examples: Number of all.
        max_risk: The bound.
        gained: Number of differences of -1.
    """
    same = np.asarray(examples - lost - gained)
    log_capital = [
        lost * np.log1p(-stake)
        + same * np.log1p(stake * max_risk / (1 - max_risk))
        + gained * np.log1p(stake * (1 + max_risk) / (1 - max_risk))
        for stake in BETS
    ]
    return np.asarray(np.exp(-np.maximum(logsumexp(log_capital, axis=0) - np.log(len(BETS)), 0.0)))


def betting_upper_bound(
    lost: Totals, examples: int, confidence: float, gained: Totals | int
) -> Float[np.ndarray, "..."]:
    """Upper bound of a mean difference in [-1, 1]: the smallest that the betting p-value excludes."""
    return _smallest_excluded(
        lambda risk: betting_p_value(lost, examples, risk, gained), (lost - gained) / examples, confidence, least=-1.0
    )


def examples_needed(passes: Callable[[np.ndarray, np.ndarray], np.ndarray], risk: float) -> int | None:
    """Count the examples on which an observed risk would be certified; None where `MOST_EXAMPLES` do not suffice.

    ``passes`` is a test's, and of n examples ceil(risk n) are counted as lost.
    """
    start, width = 1, 1024
    while start <= MOST_EXAMPLES:
        sizes = np.arange(start, start + width)
        found = np.flatnonzero(passes(np.ceil(risk * sizes - ROUNDING), sizes))
        if len(found):
            return int(sizes[found[0]])
        start, width = start + width, 2 * width
    return None


def _smallest_excluded(
    p_value: Callable[[np.ndarray], np.ndarray], mean: Float[np.ndarray, "..."], confidence: float, *, least: float
) -> Float[np.ndarray, "..."]:
    """Return the smallest risk, between the observed mean and 1, whose p-value is at most 1 - confidence."""
    low, high = np.clip(mean, least, 1.0), np.ones(mean.shape)
    for _ in range(_BISECTIONS):
        middle = np.clip((low + high) / 2, least + ROUNDING, 1 - ROUNDING)
        excluded = p_value(middle) <= 1 - confidence
        low, high = np.where(excluded, low, middle), np.where(excluded, middle, high)
    return high


def _entropy_term(x: Float[np.ndarray, "..."], a: float | Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return x log(x / a), which is 0 at x = 0."""
    return x * np.log(np.where(x > 0, x, 1.0) / a)
