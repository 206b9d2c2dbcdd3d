"""Read labels: one per example, (batch,) or (batch, 1) as a column of a data set gives it, or a row of 0 and 1."""

from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


def one_per_example(name: str, values: Any, batch: int) -> Shaped[Tensor, " batch"]:
    """Return a tensor of one value per example, given as (batch,) or (batch, 1).

    Raises:
        ValueError: If it is no tensor, or of another shape.
    """
    if not isinstance(values, Tensor):
        raise ValueError(f"{name}: expected a tensor of one value per example, got a {type(values).__name__}")
    if values.shape not in ((batch,), (batch, 1)):
        raise ValueError(
            f"{name}: expected one per example, of shape ({batch},) or ({batch}, 1), got shape {tuple(values.shape)}"
        )
    return values.reshape(batch)


def read_classes(labels: Any, batch: int, classes: int) -> Int[Tensor, " batch"]:
    """Return class labels, integers in [0, classes), as int64; see `one_per_example`.

    Their range is checked on the CPU only: elsewhere that would wait for the device, which stops the kernel itself.

    Raises:
        ValueError: Also if they are no integers, or one is out of range.
    """
    labels = one_per_example("labels", labels, batch)
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"labels: expected class indices, integers in [0, {classes}), got dtype {labels.dtype}")
    labels = labels.long()
    if labels.is_cpu and batch and not (labels.min() >= 0 and labels.max() < classes):
        lowest, highest = int(labels.min()), int(labels.max())
        raise ValueError(f"labels: expected class indices in [0, {classes}), got {lowest} to {highest}")
    return labels


def is_multi_label(labels: Any, outputs: int) -> bool:
    """Tell labels that answer each of several outputs by yes or no, (batch, outputs), from one label per example."""
    return isinstance(labels, Tensor) and outputs > 1 and labels.ndim == 2 and labels.shape[1] == outputs


def read_label_sets(labels: Any, batch: int, outputs: int) -> Float[Tensor, "batch outputs"]:
    """Return multi-label labels, 0 or 1 for each output, in floating point, as Hugging Face has them.

    They are checked on the CPU only, as classes are.

    Raises:
        ValueError: If they are no tensor, of another shape, or one is neither 0 nor 1.
    """
    if not isinstance(labels, Tensor) or labels.shape != (batch, outputs) or labels.is_complex():
        got = f"shape {tuple(labels.shape)}" if isinstance(labels, Tensor) else f"a {type(labels).__name__}"
        raise ValueError(f"labels: expected 0 or 1 for each label, of shape ({batch}, {outputs}), got {got}")
    if labels.is_cpu and not ((labels == 0) | (labels == 1)).all():
        raise ValueError(f"labels: expected 0 or 1, got {labels[(labels != 0) & (labels != 1)][0].item()}")
    return labels if labels.is_floating_point() else labels.to(torch.get_default_dtype())


def read_targets(labels: Any, batch: int) -> Float[Tensor, " batch"]:
    """Return a regression's targets, finite numbers, in floating point; see `one_per_example`.

    They are checked on the CPU only, as classes are.

    Raises:
        ValueError: Also if they are complex, or one is not finite.
    """
    labels = one_per_example("labels", labels, batch)
    if labels.is_complex():
        raise ValueError(f"labels: expected real numbers, got dtype {labels.dtype}")
    if labels.is_cpu and not labels.isfinite().all():
        raise ValueError(f"labels: expected finite numbers, got {labels[~labels.isfinite()][0].item()}")
    return labels if labels.is_floating_point() else labels.to(torch.get_default_dtype())
