"""How sure a measured number is: intervals and tests over examples, seeded."""

import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Num
from scipy import stats

Interval = tuple[float, float]
Metric = Callable[[np.ndarray, np.ndarray], float]
"""(predictions (n,), labels (n,)) -> value."""
DRAWN_AT_ONCE = 2**20
"""Examples, of several draws, whose numbers are in memory at a time."""


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


def paired_ratio(
    theirs: Float[np.ndarray, "rounds batches"],
    ours: Float[np.ndarray, "rounds batches"],
    draws: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return how many times as long theirs take as ours, with the ends of its interval over rounds and batches.

    The ratio is the median over the rounds of (sum of theirs / sum of ours) in that round, so that a machine which
    slows down for a while slows both. It would be another one in other rounds, and on other texts. Each draw of the
    bootstrap therefore takes rounds and, independently, batches with replacement, the same ones on both sides (the
    pigeonhole bootstrap, Owen 2007), and works the ratio out anew. As few batches vary less among themselves than the
    texts they were drawn from, percentiles lie further out by the factor that a mean of n values needs, sqrt(n / (n -
    1)) and Student's t for the normal (the expanded percentile interval, Hesterberg 2015). One batch says nothing of
    other texts: its interval is over the rounds alone.

    Args:
        theirs: Time of each call of the baseline, above 0.
        ours: Time of each call of the contender on the same texts, above 0.
        draws: How often rounds and batches are drawn.
        confidence: How often the interval should hold the ratio.
        seed: Of the draws.

    Raises:
        ValueError: If there are no times, or not one of theirs for each of ours.
    """
    if theirs.shape != ours.shape or ours.size == 0:
        raise ValueError(f"expected times of both in the same calls, got {theirs.shape} and {ours.shape}")
    rounds, weights = _draws(*ours.shape, draws, seed)
    ratio = float(np.median(theirs.sum(1) / ours.sum(1)))
    drawn = (theirs @ weights.T) / (ours @ weights.T)  # of each round, with the batches of each draw
    medians = np.median(np.take_along_axis(drawn, rounds, axis=0), axis=0)
    return ratio, *_percentiles(medians, _expanded(confidence, ours.shape[1]))


@functools.lru_cache(maxsize=8)
def _draws(rounds: int, batches: int, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw rounds (rounds, draws), and how often each batch is drawn (draws, batches)."""
    generator = np.random.default_rng(seed)
    chosen = generator.integers(rounds, size=(rounds, draws))
    return chosen, generator.multinomial(batches, np.full(batches, 1 / batches), size=draws).astype(np.float64)


def _expanded(confidence: float, count: int) -> float:
    """Return the confidence at which percentiles over so few values cover what is wanted."""
    if count < 2:
        return confidence
    t = float(stats.t.ppf(0.5 + confidence / 2, count - 1)) * (count / (count - 1)) ** 0.5
    return 1 - 2 * float(stats.norm.sf(t))


def mean_interval(values: Num[np.ndarray, " n"], confidence: float = 0.95) -> Interval:
    """Normal interval of a mean: mean plus and minus z standard errors."""
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    half = z * float(np.std(values)) / len(values) ** 0.5
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def paired_difference_interval(
    metric: Metric,
    labels: Num[np.ndarray, "n *labels"],
    predictions: Num[np.ndarray, "n *labels"],
    reference: Num[np.ndarray, "n *labels"],
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


def paired_share_interval(
    right: Bool[np.ndarray, " n"],
    reference_right: Bool[np.ndarray, " n"],
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return `paired_difference_interval` of accuracy, from which answers are right: the same draws, many at a time."""
    if np.array_equal(right, reference_right):
        return 0.0, 0.0
    generator, size = np.random.default_rng(seed), len(right)
    at_once = max(1, DRAWN_AT_ONCE // size)
    differences = []
    for start in range(0, draws, at_once):
        index = generator.integers(size, size=(min(at_once, draws - start), size))
        ours, theirs = (np.count_nonzero(each[index], axis=1) / size for each in (right, reference_right))
        differences.append(ours - theirs)
    return _percentiles(np.concatenate(differences), confidence)


def seeds_difference_interval(
    metric: Metric,
    labels: Num[np.ndarray, "n *labels"],
    predictions: Num[np.ndarray, "seeds n *labels"],
    reference: Num[np.ndarray, "seeds n *labels"],
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Bootstrap interval of the mean over seeds of metric(predictions) - metric(reference), paired by seed and example.

    Each draw takes examples and, independently, seeds with replacement, the same ones on both sides (the pigeonhole
    bootstrap, Owen 2007). So few seeds vary less among themselves than those that they stand for, hence percentiles lie
    further out, as in `paired_ratio`. Draws on which the metric is undefined (NaN) are left out.

    Raises:
        ValueError: If there are no seeds, or not as many on both sides.
    """
    if predictions.shape != reference.shape or len(predictions) == 0:
        raise ValueError(f"expected answers of both with the same seeds, got {predictions.shape}, {reference.shape}")
    if np.array_equal(predictions, reference):
        return 0.0, 0.0
    generator = np.random.default_rng(seed)
    count, differences = len(predictions), np.empty(draws)
    for draw in range(draws):
        index = generator.integers(len(labels), size=len(labels))
        truth = labels[index]
        chosen = np.bincount(generator.integers(count, size=count), minlength=count)
        each = [
            times * (metric(ours[index], truth) - metric(theirs[index], truth))
            for times, ours, theirs in zip(chosen, predictions, reference, strict=True)
            if times
        ]
        differences[draw] = sum(each) / count
    return _percentiles(differences, _expanded(confidence, count))


def _percentiles(values: Float[np.ndarray, " draws"], confidence: float) -> Interval:
    tail = 50 * (1 - confidence)
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return float(low), float(high)
