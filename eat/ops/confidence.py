"""Confidence, margin and entropy of a head's logits, per example; computed in float32 or better."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eat.ops.precision import at_least_float32


def max_probability(logits: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch"]:
    """Return max_c P(y = c), in [1 / classes, 1] (EAT's exit score)."""
    return _probabilities(logits).amax(-1)


def margin(logits: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch"]:
    """Return the most probable class's probability minus the second's, in [0, 1]."""
    top = _probabilities(logits).topk(2, dim=-1).values
    return top[..., 0] - top[..., 1]


def normalised_entropy(logits: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch"]:
    """Return the entropy of P divided by log(classes), in [0, 1] (FastBERT, Liu et al. 2020, eq. 5).

    Rounding would take that of a nearly uniform P above 1, the bound that every example meets.
    """
    log_p = torch.log_softmax(at_least_float32(logits), dim=-1)
    return (-(log_p.exp() * log_p).sum(-1) / math.log(logits.shape[-1])).clamp(max=1.0)


def agreeing_heads(history: Float[Tensor, "heads batch classes"]) -> Int[Tensor, " batch"]:
    """Count how many heads before the last one, without a gap, predict the class that the last one predicts.

    This is PABEE's counter (Zhou et al. 2020, eq. 4): 0 after the first head or a change of mind, then one more with
    each head that agrees with the one before it. A head whose logits are NaN agrees with none.
    """
    predictions = history.argmax(-1).masked_fill(history.isnan().any(-1), -1)
    agrees = predictions.flip(0).eq(predictions[-1]) & (predictions[-1] >= 0)
    return (agrees.long().cumprod(0).sum(0) - 1).clamp(min=0)


def _probabilities(logits: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch classes"]:
    return torch.softmax(at_least_float32(logits), dim=-1)
