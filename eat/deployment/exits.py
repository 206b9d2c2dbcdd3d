"""Exit criteria in NumPy: what `eat.exits` decides, where there is no torch.

The names, arguments and defaults are those of `eat.exits`, whose docstrings say what each means and where it comes
from; `tests/deployment` compares both on random histories. A history is (heads, batch, classes), logits in float32.
"""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from eat.checks import number, one_of, whole_number

Measure = Callable[[np.ndarray, int], np.ndarray]


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return softmax over the last axis."""
    grown: np.ndarray = np.exp(logits - logits.max(-1, keepdims=True))
    return grown / grown.sum(-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return each label's probability, without overflow."""
    grown: np.ndarray = np.exp(-np.abs(logits))
    return np.where(logits > 0, 1, grown) / (1 + grown)


def normalised_entropy(logits: np.ndarray) -> np.ndarray:
    """Return the entropy divided by log(classes), in [0, 1]."""
    shifted = logits - logits.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return np.minimum(-(np.exp(log_p) * log_p).sum(-1) / np.float32(math.log(logits.shape[-1])), np.float32(1))


def margin(logits: np.ndarray) -> np.ndarray:
    """Return the most probable class's probability minus the second's."""
    best = np.sort(probabilities(logits), axis=-1)
    return best[..., -1] - best[..., -2]


def agreeing_heads(history: np.ndarray) -> np.ndarray:
    """Count how many heads before the last one, without a gap, predict what it predicts; NaN agrees with none."""
    predictions = np.where(np.isnan(history).any(-1), -1, history.argmax(-1))
    agrees = (predictions[::-1] == predictions[-1]) & (predictions[-1] >= 0)
    return np.maximum(np.cumprod(agrees, axis=0).sum(0) - 1, 0)


def sets_as_classes(history: np.ndarray) -> np.ndarray:
    """Return multi-label answers as logits of two classes, as `eat.ops.confidence.sets_as_classes` does."""
    sets = history > 0
    changes = (sets[1:] != sets[:-1]).any(-1).cumsum(0) % 2 == 1
    second = np.concatenate((np.zeros_like(sets[:1, :, 0]), changes))
    sure = np.maximum(np.abs(history).min(-1), np.finfo(history.dtype).tiny)
    return np.stack((np.where(second, 0, sure), np.where(second, sure, 0)), axis=-1)


def _confidence(history: np.ndarray, patience: int) -> np.ndarray:
    return probabilities(history[-1]).max(-1)


def _patience(history: np.ndarray, patience: int) -> np.ndarray:
    return np.where(agreeing_heads(history) < patience, np.nan, _confidence(history, 1))


def _patience_confidence(history: np.ndarray, patience: int) -> np.ndarray:
    last = probabilities(history[-patience:]).max(-1)
    return last.min(0) if len(last) == patience else np.full_like(last[-1], np.nan)


def _entropy(history: np.ndarray, patience: int) -> np.ndarray:
    return normalised_entropy(history[-1])


def _entropy_reduction(history: np.ndarray, patience: int) -> np.ndarray:
    entropy = normalised_entropy(history[-2:])
    if len(entropy) < 2:
        return np.full_like(entropy[-1], np.nan)
    before, difference = entropy[0], entropy[0] - entropy[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(difference) <= 1e-6 * before, 0.0, difference / before)


def _margin(history: np.ndarray, patience: int) -> np.ndarray:
    return margin(history[-1])


def _agreement(history: np.ndarray, patience: int) -> np.ndarray:
    confidence, predicted = probabilities(history).max(-1), history.argmax(-1)
    total = confidence[0]
    for i in range(1, len(history)):
        votes = (i + 1) * confidence[i]
        total = np.where(predicted[i] == predicted[i - 1], votes + total, votes)
    return total / np.float32(len(history) * (len(history) + 1) // 2)


def _difference(history: np.ndarray, patience: int) -> np.ndarray:
    values = history[-patience - 1 :, :, 0]
    if len(values) <= patience:
        return np.full_like(values[-1], np.nan)
    return np.abs(np.diff(values, axis=0)).max(0)


CRITERIA: Mapping[str, tuple[Measure, Callable[..., np.ndarray]]] = {
    "confidence": (_confidence, operator.ge),
    "patience": (_patience, operator.ge),
    "patience_confidence": (_patience_confidence, operator.ge),
    "entropy": (_entropy, operator.le),
    "entropy_reduction": (_entropy_reduction, operator.lt),
    "margin": (_margin, operator.ge),
    "agreement": (_agreement, operator.ge),
    "difference": (_difference, operator.lt),
}
"""Name -> the score of each example, and how one that exits compares with the threshold."""


def check_exit(spec: Mapping[str, Any], num_outputs: int, multi_label: bool) -> None:
    """Refuse a criterion that is not known here, such as one of another package, or arguments that it cannot have."""
    name = one_of("exit.name", spec.get("name"), ["never", *CRITERIA])
    if name != "never" and (name == "difference") != (num_outputs == 1):
        raise ValueError(f"exit.name: expected one that suits {num_outputs} outputs, got {name!r}")
    whole_number("exit.patience", spec.get("patience", 1))
    if spec.get("veto_margin") is not None:
        number("exit.veto_margin", spec["veto_margin"], at_least=0, at_most=1)
    threshold: Any = 0 if spec.get("threshold") is None else spec["threshold"]
    one_each = isinstance(threshold, list | tuple) and len(threshold) == num_outputs and not multi_label
    for value in threshold if one_each else [threshold]:
        number("exit.threshold", value, at_least=0)


def leaves(spec: Mapping[str, Any], history: np.ndarray) -> np.ndarray:
    """Return True where an example exits after the last head of the history; no comparison holds for NaN.

    Args:
        spec: The criterion with all of its arguments, as ``OperatingPoint.spec`` gives them.
        history: Logits of the heads so far.
    """
    if spec["name"] == "never":
        return np.zeros(history.shape[1], dtype=bool)
    measure, compare = CRITERIA[spec["name"]]
    with np.errstate(invalid="ignore"):
        score = measure(history, spec.get("patience", 1))
        if spec.get("veto_margin") is not None:
            vetoed = margin(history[-1]) < spec["veto_margin"]
            if len(history) > 1:
                vetoed &= agreeing_heads(history) < len(history) - 1
            score = np.where(vetoed, np.nan, score)
        bound = np.asarray(0.0 if spec.get("threshold") is None else spec["threshold"], dtype=np.float32)
        if bound.ndim:
            bound = bound[history[-1].argmax(-1)]
        return np.asarray(compare(score.astype(np.float32), bound))
