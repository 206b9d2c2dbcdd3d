"""Quality class by class: the confusion matrix, and each class's precision, recall and F1."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


@dataclasses.dataclass(frozen=True)
class ClassQuality:
    """How well one class is told from the others; a share that has nothing to count is 0."""

    name: str  # the class
    precision: float  # of the examples predicted as it, the share that is right
    recall: float  # of its examples, the share that is found
    f1: float  # harmonic mean of the two
    support: int  # its examples
    predicted: int  # examples predicted as it


def confusion_matrix(
    labels: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], num_classes: int
) -> Int[np.ndarray, "classes classes"]:
    """Count examples by their class (rows) and the class that was predicted (columns)."""
    pairs = np.ravel_multi_index((labels, predicted), (num_classes, num_classes))
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_qualities(matrix: Int[np.ndarray, "classes classes"], names: Sequence[str]) -> list[ClassQuality]:
    """Return precision, recall and F1 of every class, in the order of the matrix."""
    return _qualities(matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0), names)


def label_qualities(
    labels: Int[np.ndarray, "n labels"], predicted: Int[np.ndarray, "n labels"], names: Sequence[str]
) -> list[ClassQuality]:
    """Return precision, recall and F1 of every label of a multi-label task, from 0 and 1 for each."""
    hits = ((labels == 1) & (predicted == 1)).sum(axis=0)
    return _qualities(hits, (labels == 1).sum(axis=0), (predicted == 1).sum(axis=0), names)


def _qualities(
    hits: Int[np.ndarray, " n"], support: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], names: Sequence[str]
) -> list[ClassQuality]:
    precision, recall = _share(hits, predicted), _share(hits, support)
    f1 = _share(2 * hits, support + predicted)
    columns = (precision.tolist(), recall.tolist(), f1.tolist(), support.tolist(), predicted.tolist())
    return [ClassQuality(name, *values) for name, *values in zip(names, *columns, strict=True)]


def _share(part: Int[np.ndarray, " n"], whole: Int[np.ndarray, " n"]) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
