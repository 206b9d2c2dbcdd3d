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


def sets_as_classes(history: Float[Tensor, "heads batch labels"]) -> Float[Tensor, "heads batch 2"]:
    """Return multi-label answers, one sigmoid per label, as logits of two classes: what exit criteria read.

    A head is as sure of a set of labels as of its least sure label: the class that it predicts has the probability
    min_l max(p_l, 1 - p_l). From one head to the next that class changes exactly where the set does (p_l > 1/2), so
    that heads agree where they name the same labels. NaN stays NaN.
    """
    sets = history > 0
    changes = (sets[1:] != sets[:-1]).any(-1).cumsum(0) % 2 == 1
    second = torch.cat((torch.zeros_like(sets[:1, :, 0]), changes))
    logits = at_least_float32(history)
    sure = logits.abs().amin(-1).clamp_min(torch.finfo(logits.dtype).tiny)  # a tie would name the wrong class
    return torch.stack((sure.masked_fill(second, 0.0), sure.masked_fill(~second, 0.0)), dim=-1)


def _probabilities(logits: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch classes"]:
    return torch.softmax(at_least_float32(logits), dim=-1)
