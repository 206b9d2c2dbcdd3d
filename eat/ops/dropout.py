"""Dropout on a CPU, where torch draws a random number for each value, one after the other.

Here 64 random bits decide about four values, and nothing is kept for the gradient but the seed that they come from. In
attention torch's own fused product drops no weights on a CPU: it falls back to whole matrices of scores, weights and
masks, which leave the cache and are all kept for the gradient. Here a part of the scores is made at a time, and what is
kept grows with the tokens, not with their square.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from eat.ops.precision import at_least_float32

SCORES_AT_ONCE = 2**18  # 1 MiB in float32: what stays in a core's cache; speed hardly depends on it
_STEPS = 2**16  # a value is dropped by 16 random bits: probabilities are multiples of 1 / _STEPS
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_NARROW = 16
"""Keys below which torch takes a softmax value by value, ten times slower; in half precision below twice as many."""

Part = tuple[slice, slice]


def dropped(rows: Float[Tensor, "*shape"], dropout: float) -> Float[Tensor, "*shape"]:
    """Return the values with some set to 0 at random and the others divided by what is kept (Srivastava et al. 2014).

    Args:
        rows: Any values.
        dropout: Probability that a value is dropped, below 1; on a CPU rounded to a multiple of 2**-16. Draws come from
            torch's generator of the device.
    """
    if not rows.is_cpu or torch.compiler.is_compiling():
        return F.dropout(rows, dropout)
    if not dropout:
        return rows
    result: Tensor = _Dropped.apply(rows, dropout)
    return result


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, dropout: float) -> Tensor:
        ctx.dropout, ctx.seed = dropout, _drawn_seed()
        return _Kept(dropout, ctx.seed).scaled(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (grown,) = gradients
        return _Kept(ctx.dropout, ctx.seed).scaled(grown), None


def dropped_attention(
    q: Float[Tensor, "batch heads queries head_dim"],
    k: Float[Tensor, "batch heads keys head_dim"],
    v: Float[Tensor, "batch heads keys head_dim"],
    mask: Float[Tensor, "*mask"] | None,
    dropout: float,
) -> Float[Tensor, "batch heads queries head_dim"]:
    """Return dropout(softmax(Q K^T / sqrt(head_dim) + mask)) V, as FlashAttention computes it.

    Scores are made part after part, and anew for the gradient (Dao et al. 2022, arXiv:2205.14135); masks of dropout
    come from a seed, which torch's generator of the CPU draws.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        mask: Added to the scores, broadcast over them; each query must see a key. It gets no gradient.
        dropout: Probability that a weight is dropped, below 1; rounded to a multiple of 2**-16.
    """
    result: Tensor = _DroppedAttention.apply(q, k, v, mask, dropout)
    return result


class _DroppedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
        ctx.dropout, ctx.seed = dropout, _drawn_seed()
        ctx.save_for_backward(q, k, v, mask)
        out, kept = _rows_like(q), _Kept(dropout, ctx.seed)
        with torch.autocast("cpu", enabled=False):
            scores = _Scores(q, k, mask)
            for part in scores.parts:
                weights = scores.softmax(part).to(v.dtype)
                out[part] = torch.matmul(kept.only_(weights, kept.draw(weights)), v[part])
            return out.mul_(kept.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, mask = ctx.saved_tensors
        dq, dk, dv = (_rows_like(one) for one in (q, k, v))
        kept = _Kept(ctx.dropout, ctx.seed)
        with torch.autocast("cpu", enabled=False):
            scores, grown = _Scores(q, k, mask), gradients[0] * kept.scale
            for part in scores.parts:
                weights = scores.softmax(part)
                through = torch.matmul(grown[part], v[part].transpose(-1, -2))
                drawn = kept.draw(through)
                of_scores = _through_softmax(kept.only_(through, drawn).to(weights.dtype), weights).to(q.dtype)
                weights = kept.only_(weights.to(v.dtype), drawn)
                dv[part] = torch.matmul(weights.transpose(-1, -2), grown[part])
                dq[part] = torch.matmul(of_scores, k[part])
                dk[part] = torch.matmul(of_scores.transpose(-1, -2), scores.q[part])
            return dq.mul_(scores.scale), dk, dv, None, None


class _Scores:
    """The scores of attention, part after part."""

    def __init__(self, q: Tensor, k: Tensor, mask: Tensor | None) -> None:
        self.scale = q.shape[3] ** -0.5
        self.q, self.k = q * self.scale, k
        self.mask = None if mask is None else mask.expand(*q.shape[:3], k.shape[2])

    @property
    def parts(self) -> Iterator[Part]:
        """Split into whole sequences, or into heads of one sequence where those are large."""
        (batch, heads, queries, _), keys = self.q.shape, self.k.shape[2]
        sequences = max(1, SCORES_AT_ONCE // (heads * queries * keys))
        at_once = heads if sequences > 1 else min(heads, max(1, SCORES_AT_ONCE // (queries * keys)))
        for first in range(0, batch, sequences):
            for head in range(0, heads, at_once):
                yield slice(first, first + sequences), slice(head, head + at_once)

    def softmax(self, part: Part) -> Tensor:
        """Return what each query of a part gives its keys; summed in float32 at least, whatever its type."""
        scores = torch.matmul(self.q[part], self.k[part].transpose(-1, -2))
        if self.mask is not None:
            scores += self.mask[part]
        if scores.shape[-1] < 2 * _NARROW:
            scores = at_least_float32(scores)
        if scores.shape[-1] >= _NARROW:
            return torch.softmax(scores, -1)
        weights = scores.sub_(scores.amax(-1, keepdim=True)).exp_()
        return weights.div_(weights.sum(-1, keepdim=True))


def _through_softmax(gradient: Tensor, weights: Tensor) -> Tensor:
    """Return the gradient of a softmax's scores from that of its weights."""
    if weights.shape[-1] >= _NARROW:
        return torch._softmax_backward_data(gradient, weights, -1, weights.dtype)
    gradient = gradient.mul_(weights)
    return gradient.sub_(weights * gradient.sum(-1, keepdim=True))


class _Kept:
    """Which values are kept, tensor after tensor; the same again from the same seed."""

    def __init__(self, dropout: float, seed: int) -> None:
        # Never all are dropped, whose scale would be infinite.
        self._dropped = min(round(dropout * _STEPS), _STEPS - 1)
        self.scale = _STEPS / (_STEPS - self._dropped)
        self._bits = np.random.SFC64(seed)  # twice as fast as torch's generator

    def draw(self, values: Tensor) -> Tensor:
        """Return 1 for each value that is kept, else 0, as integers of the values' size."""
        number = values.numel()
        words = torch.from_numpy(self._bits.random_raw(number // 4 + 1).view(np.int16))
        bits = words[:number].view(values.shape)
        kept = torch.empty(values.shape, dtype=_INTEGERS[values.element_size()])
        return torch.ge(bits, self._dropped - _STEPS // 2, out=kept)  # 16 bits are signed numbers

    @staticmethod
    def only_(values: Tensor, kept: Tensor) -> Tensor:
        """Set what is not kept to 0, in place; as integers, whose product is ten times as fast as one with booleans."""
        values.view(kept.dtype).mul_(kept)
        return values

    def scaled(self, values: Tensor) -> Tensor:
        """Return what is kept of the next values, scaled up to make up for the others."""
        return self.only_(values * self.scale, self.draw(values))


def _drawn_seed() -> int:
    return int(torch.randint(2**62, ()))


def _rows_like(tensor: Tensor) -> Tensor:
    """Return an empty tensor in whose memory the heads of a row stand side by side, as those that read it expect."""
    batch, heads, rows, width = tensor.shape
    return tensor.new_empty(batch, rows, heads, width).transpose(1, 2)
