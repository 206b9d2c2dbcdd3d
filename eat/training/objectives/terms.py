"""The terms of a loss, for classes and real-valued labels alike: cross-entropies here, squared errors there."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from eat.ops import losses


def supervised(
    all_logits: Float[Tensor, "batch heads classes"], labels: Tensor, weights: Sequence[float]
) -> Float[Tensor, ""]:
    """Return the weighted sum of the heads' losses against the labels, EAT's eq. 1."""
    joint = losses.joint_mean_squared_error if labels.is_floating_point() else losses.joint_cross_entropy
    # Not in half precision, which cannot hold 0.3.
    dtype = torch.promote_types(all_logits.dtype, torch.float32)
    return joint(all_logits, labels, torch.tensor(weights, dtype=dtype, device=all_logits.device))


def distillation(
    logits: Float[Tensor, "batch classes"], taught: Float[Tensor, "batch classes"], labels: Tensor, temperature: float
) -> Float[Tensor, ""]:
    """Return the distance to a teacher's answers, EAT's eq. 2 without mu."""
    if labels.is_floating_point():
        return losses.regression_distillation(logits, taught)
    return losses.distillation(logits, taught, temperature)


def self_distillation(
    all_logits: Float[Tensor, "batch heads classes"], labels: Tensor, temperature: float
) -> Float[Tensor, ""]:
    """Return the early heads' mean distance to the final head's answers."""
    if labels.is_floating_point():
        return losses.regression_self_distillation(all_logits)
    return losses.self_distillation(all_logits, temperature)
