"""What an early exit may cost an example, beside the answer that full depth gives: losses in [0, 1], one signed.

All but `accuracy_drop` are one-sided, what got worse: answers that an exit improves are not set off against those that
it spoils. A bound on the mean loss is a bound on the drop as well, because the drop is the loss minus what improved
(full depth's accuracy - the exits' accuracy = mean `accuracy_gap` - share that only the exits have right). Each takes
the logits of the exits, those of full depth (of the model itself, or of the reference), and the true classes. In a
multi-label task, whose labels are (n, labels), an answer is the set of labels, and is right where all of them are.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit, softmax

from eat.traces.quality import predictions, same_answers

Logits = Float[np.ndarray, "n classes"]
Labels = Int[np.ndarray, "n *labels"]
Losses = Float[np.ndarray, " n"]


def accuracy_gap(logits: Logits, full: Logits, labels: Labels) -> Losses:
    """Return 1 where full depth is right and the exit is wrong."""
    right, still = (same_answers(predictions(each, labels.ndim == 2), labels) for each in (full, logits))
    return (right & ~still).astype(np.float64)


def accuracy_drop(logits: Logits, full: Logits, labels: Labels) -> Losses:
    """Return 1 where only full depth is right, -1 where only the exit is, else 0: its mean is the drop in accuracy."""
    return accuracy_gap(logits, full, labels) - accuracy_gap(full, logits, labels)


def inconsistency(logits: Logits, full: Logits, labels: Labels) -> Losses:
    """Return 1 where the exit's class is not full depth's; labels are not read, but for their kind."""
    ours, theirs = (predictions(each, labels.ndim == 2) for each in (logits, full))
    return (~same_answers(ours, theirs)).astype(np.float64)


def brier_gap(logits: Logits, full: Logits, labels: Labels) -> Losses:
    """Return by how much the exit's Brier score is worse than full depth's, 0 where it is better.

    The Brier score sum_c (P(y = c) - 1{c is the label})^2 lies in [0, 2] and is halved, so that the loss is in [0, 1].
    Of labels with a sigmoid each it is the mean of (p - y)^2 over them.
    """
    if labels.ndim == 2:
        score, reference = (((expit(x.astype(np.float64)) - labels) ** 2).mean(axis=1) for x in (logits, full))
        return np.clip(score - reference, 0.0, 1.0)
    truth = np.eye(logits.shape[1])[labels]
    score, reference = (((softmax(x.astype(np.float64), axis=1) - truth) ** 2).sum(axis=1) / 2 for x in (logits, full))
    return np.clip(score - reference, 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Risk:
    """A loss that can be certified."""

    loss: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # exits, full depth, labels -> loss at most 1
    says: str  # what a bound on its mean says, after "at most 1 %"
    is_binary: bool  # whether it is 0 or 1, so that exact binomial tests apply
    needs_labels: bool  # whether it reads the labels
    is_signed: bool = False  # whether it is -1, 0 or 1: what is gained is set off


RISKS = {
    "accuracy_gap": Risk(
        accuracy_gap,
        "of texts are answered right at full depth and wrong here, so accuracy is lower by no more than that",
        is_binary=True,
        needs_labels=True,
    ),
    "accuracy_drop": Risk(
        accuracy_drop,
        "is what accuracy is lower by: texts answered right at full depth and wrong here, less those that are right "
        "only here",
        is_binary=False,
        needs_labels=True,
        is_signed=True,
    ),
    "inconsistency": Risk(
        inconsistency,
        "of texts are answered differently than at full depth, so accuracy is lower by no more than that",
        is_binary=True,
        needs_labels=False,
    ),
    "brier_gap": Risk(
        brier_gap,
        "of its range is what the Brier score loses on average on texts where it is worse than at full depth, so "
        "the mean score rises by no more than that",
        is_binary=False,
        needs_labels=True,
    ),
}
"""Losses by name."""
