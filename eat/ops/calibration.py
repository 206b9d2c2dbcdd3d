"""Calibration of class probabilities: reliability bins, expected calibration error, Brier score."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, bincount
from torch.nn.functional import one_hot

from eat.ops.labels import one_per_example, read_classes


class Reliability(NamedTuple):
    """What a reliability diagram draws: per bin how many examples, how sure they were and how often they were right.

    Empty bins hold 0 in all three.
    """

    counts: Int[Tensor, " bins"]
    confidence: Float[Tensor, " bins"]
    accuracy: Float[Tensor, " bins"]


def reliability(confidence: Float[Tensor, " examples"], correct: Tensor, num_bins: int = 15) -> Reliability:
    """Sort examples into bins of equal width by their confidence.

    Bin m of M holds ((m - 1) / M, m / M], as in Guo et al. 2017 (arXiv:1706.04599, section 2); a confidence of
    exactly 0 goes to the first bin.

    Args:
        confidence: Probability of the predicted class, in [0, 1].
        correct: (examples,) or (examples, 1), True where the prediction equals the label.
        num_bins: Number of bins, at least 1.

    Raises:
        ValueError: If there are no examples, no bins, not one ``correct`` per example, or a confidence is NaN or
            outside [0, 1].
    """
    correct = one_per_example("correct", correct, len(confidence))
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    if confidence.numel() == 0:
        raise ValueError("confidence must hold at least one example, got none")
    # Softmax in float32 may exceed 1 by a rounding error; NaN fails this comparison as well.
    if not bool(((confidence >= 0) & (confidence <= 1 + 1e-5)).all()):
        raise ValueError(f"confidence must lie in [0, 1], got values from {confidence.min()} to {confidence.max()}")
    values = confidence.double()
    index = ((values * num_bins).ceil().long() - 1).clamp(0, num_bins - 1)
    counts = bincount(index, minlength=num_bins)
    filled = counts.clamp(min=1)
    return Reliability(
        counts=counts,
        confidence=bincount(index, weights=values, minlength=num_bins) / filled,
        accuracy=bincount(index, weights=correct.double(), minlength=num_bins) / filled,
    )


def expected_calibration_error(confidence: Float[Tensor, " examples"], correct: Tensor, num_bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over the bins, weighted by their examples.

    ECE = sum_m |B_m| / n * |accuracy(B_m) - confidence(B_m)|, in [0, 1] (Guo et al. 2017, eq. 3); EAT uses 15 bins.
    Arguments are those of `reliability`.
    """
    bins = reliability(confidence, correct, num_bins)
    weights = bins.counts.double() / bins.counts.sum()
    return float((weights * (bins.accuracy - bins.confidence).abs()).sum())


def brier_score(probabilities: Float[Tensor, "examples classes"], labels: Tensor) -> float:
    """Mean squared distance between the probabilities and the label as a one-hot row, summed over the classes.

    The definition of Brier 1950 for any number of classes; with two it is twice the mean of (P(y = 1) - y)^2. It lies
    in [0, 2]; 0 is best. ``labels`` (examples,) or (examples, 1) are the classes; other shapes, and classes that there
    are not, raise a ValueError.
    """
    wanted = one_hot(read_classes(labels, *probabilities.shape), probabilities.shape[1])
    return float((probabilities.double() - wanted).square().sum(1).mean())
