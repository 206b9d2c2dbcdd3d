"""How sure a measured number is: intervals and tests over examples, seeded."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Num
from scipy import stats

Interval = tuple[float, float]
Metric = Callable[[np.ndarray, np.ndarray], float]
"""(predictions (n,), labels (n,)) -> value."""


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> Interval:
    """Interval for a proportion that stays within [0, 1] and holds near its ends (Wilson 1927).

    Raises:
        ValueError: If there is no trial or the successes are outside [0, total].
    """
    if total < 1 or not 0 <= correct <= total:
        raise ValueError(f"expected 0 <= correct <= total and total >= 1, got correct={correct}, total={total}")
    interval = stats.binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(right: Bool[np.ndarray, " n"], reference_right: Bool[np.ndarray, " n"]) -> tuple[int, int, float]:
    """Exact McNemar test on paired answers: (only ours right, only the reference's right, two-sided p-value)."""
    gained = int((right & ~reference_right).sum())
    lost = int((~right & reference_right).sum())
    p_value = 1.0 if gained + lost == 0 else float(stats.binomtest(gained, gained + lost, 0.5).pvalue)
    return gained, lost, p_value


def median_interval(
    values: Float[np.ndarray, " n"], draws: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Bootstrap percentile interval of a median; with five values or fewer this is their whole range.

    Raises:
        ValueError: If there are no values.
    """
    if len(values) == 0:
        raise ValueError("values must hold at least one number, got none")
    index = np.random.default_rng(seed).integers(len(values), size=(draws, len(values)))
    return _percentiles(np.median(values[index], axis=1), confidence)


def mean_interval(values: Num[np.ndarray, " n"], confidence: float = 0.95) -> Interval:
    """Normal interval of a mean: mean plus and minus z standard errors."""
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    half = z * float(np.std(values)) / len(values) ** 0.5
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def paired_difference_interval(
    metric: Metric,
    labels: Num[np.ndarray, " n"],
    predictions: Num[np.ndarray, " n"],
    reference: Num[np.ndarray, " n"],
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Bootstrap percentile interval of metric(predictions) - metric(reference), examples drawn in pairs.

    Predictions, reference and labels are classes, or scores. Draws on which the metric is undefined (NaN) are left out.
    """
    if np.array_equal(predictions, reference):
        return 0.0, 0.0
    generator = np.random.default_rng(seed)
    differences = np.empty(draws)
    for draw in range(draws):
        index = generator.integers(len(labels), size=len(labels))
        truth = labels[index]
        differences[draw] = metric(predictions[index], truth) - metric(reference[index], truth)
    return _percentiles(differences, confidence)


def _percentiles(values: Float[np.ndarray, " draws"], confidence: float) -> Interval:
    tail = 50 * (1 - confidence)
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return float(low), float(high)
