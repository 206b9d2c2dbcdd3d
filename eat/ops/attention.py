"""Attention over one group of sequences, padded to a common width: the dense product, with or without a mask."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eat.ops.dropout import SCORES_AT_ONCE, dropped_attention

PerHead = Float[Tensor, "batch width heads head_dim"]

# Positions of queries (*batch, queries) and of keys (*batch, keys) -> (*batch, heads, queries, keys)
Bias = Callable[[Tensor, Tensor], Tensor]

# Queries that `received` scores at once: bounds its memory at heads x QUERY_CHUNK x width per sequence.
QUERY_CHUNK = 256


@dataclasses.dataclass(frozen=True, eq=False)
class DenseLayout:
    """Every query is multiplied with every key of its sequence.

    ``mask`` is 0, or a bias, where the query sees the key and -inf elsewhere, broadcast over heads and, where all
    queries see the same keys, over queries; None where nothing is hidden.
    """

    mask: Float[Tensor, "batch heads_or_1 queries_or_1 width"] | None
    valid: Bool[Tensor, "batch width"] | None  # True on live rows; None where no row is padding

    def mix(self, q: PerHead, k: PerHead, v: PerHead, dropout: float) -> PerHead:
        """Return softmax(Q K^T / sqrt(head_dim)) V."""
        return attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), self.mask, dropout)

    def biased(self, bias: Bias, positions: Int[Tensor, "batch width"]) -> DenseLayout:
        """Return the same with a bias on the scores."""
        return dataclasses.replace(self, mask=with_bias(self.mask, bias(positions, positions)))

    def received(self, q: PerHead, k: PerHead) -> Float[Tensor, "batch width"]:
        """Return the attention that each key receives: mean over heads, sum over live queries."""
        q, k = q.transpose(1, 2), k.transpose(1, 2)
        total = q.new_zeros(q.shape[0], q.shape[2])
        for start in range(0, q.shape[2], QUERY_CHUNK):
            chunk = slice(start, start + QUERY_CHUNK)
            mask = self.mask if self.mask is None or self.mask.shape[2] == 1 else self.mask[:, :, chunk]
            probabilities = attention_probabilities(q[:, :, chunk], k, mask).mean(1)
            if self.valid is not None:
                probabilities = probabilities * self.valid[:, chunk].unsqueeze(2)
            total += probabilities.sum(1)
        return total


def attend(
    q: Float[Tensor, "batch heads queries head_dim"],
    k: Float[Tensor, "batch heads keys head_dim"],
    v: Float[Tensor, "batch heads keys head_dim"],
    mask: Float[Tensor, "*mask"] | None,
    dropout: float,
) -> Float[Tensor, "batch queries heads head_dim"]:
    """Return softmax(Q K^T / sqrt(head_dim)) V; the mask takes the queries' dtype, which autocast may have lowered."""
    mask = None if mask is None else mask.to(q.dtype)
    learned = mask is not None and mask.requires_grad  # a backbone's bias
    if dropout and q.is_cpu and not learned and q[..., 0].numel() * k.shape[2] > SCORES_AT_ONCE:
        return dropped_attention(q, k, v, mask, dropout).transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout).transpose(1, 2)


def attention_probabilities(
    q: Float[Tensor, "*batch queries head_dim"],
    k: Float[Tensor, "*batch keys head_dim"],
    mask: Float[Tensor, "*mask"] | None,
) -> Float[Tensor, "*batch queries keys"]:
    """Return softmax(Q K^T / sqrt(head_dim)), before any dropout."""
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    return torch.softmax(scores if mask is None else scores + mask, dim=-1)


def additive(visible: Bool[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """Return 0 where visible and -inf elsewhere: what attention adds to its scores."""
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, -torch.inf)


def with_bias(
    mask: Float[Tensor, "batch 1 queries_or_1 keys"] | None, bias: Float[Tensor, "batch heads queries keys"]
) -> Float[Tensor, "batch heads queries keys"]:
    """Return a mask that adds the bias as well."""
    return bias if mask is None else bias + mask


def padding_mask(
    valid: Bool[Tensor, "batch width"] | None, dtype: torch.dtype
) -> Float[Tensor, "batch 1 1 width"] | None:
    """Return what hides padding as keys; None where no row is padding."""
    return None if valid is None else additive(valid, dtype)[:, None, None]


def band_visible(
    positions: Int[Tensor, "batch width"],
    is_global: Bool[Tensor, "batch width"],
    valid: Bool[Tensor, "batch width"] | None,
    window: int,
) -> Bool[Tensor, "batch width width"]:
    """Return which key each query sees in a window with global tokens (Longformer, Beltagy et al. 2020; EAT).

    A query sees the keys at most ``window`` / 2 positions away and the global ones; a global query sees every key.
    Padding is never seen and sees all, so that each row of the mask has at least one True: without one, attention and
    its gradients would be NaN.
    """
    near = (positions.unsqueeze(2) - positions.unsqueeze(1)).abs() <= window // 2
    visible = near | is_global.unsqueeze(1) | is_global.unsqueeze(2)
    return visible if valid is None else (visible | ~valid.unsqueeze(2)) & valid.unsqueeze(1)
