"""Dropout on a CPU, where torch draws a random number for each value, one after the other.

Here 64 random bits decide about four values, which saves an eighth of the time of training in bfloat16, and what is
kept for the gradient is a byte a value. In attention torch's own fused product drops no weights on a CPU: it falls back
to whole matrices of scores, weights and masks, which leave the cache and are all kept for the gradient. Here a part of
the scores is made at a time, and what is kept grows with the tokens, not with their square.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from eat.ops.precision import at_least_float32

SCORES_AT_ONCE = 2**18  # 1 MiB in float32: what stays in a core's cache; speed hardly depends on it
_STEPS = 2**16  # a weight is dropped by 16 random bits: probabilities are multiples of 1 / _STEPS

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
    number = _of_steps(dropout)
    return (rows * _kept(rows, number)).mul_(_STEPS / (_STEPS - number))


def dropped_attention(
    q: Float[Tensor, "batch heads queries head_dim"],
    k: Float[Tensor, "batch heads keys head_dim"],
    v: Float[Tensor, "batch heads keys head_dim"],
    mask: Float[Tensor, "*mask"] | None,
    dropout: float,
) -> Float[Tensor, "batch heads queries head_dim"]:
    """Return dropout(softmax(Q K^T / sqrt(head_dim) + mask)) V, as FlashAttention computes it.

    Scores are made part after part, and anew for the gradient, from each query's log-sum-exp (Dao et al. 2022,
    arXiv:2205.14135, algorithms 2 and 4); masks of dropout come from a seed, which torch's generator of the CPU draws.

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
        out = _rows_like(q)
        log_sums = torch.empty(*q.shape[:3], 1, dtype=at_least_float32(q[:0]).dtype)
        ctx.seed = int(torch.randint(2**62, ()))
        weights = _Weights(q, k, mask, dropout, ctx.seed)
        with torch.autocast("cpu", enabled=False):
            for part in weights.parts:
                scores = weights.scores(part)
                log_sums[part] = torch.logsumexp(scores, -1, keepdim=True)
                probabilities = scores.sub_(log_sums[part]).exp_().mul_(weights.kept(scores))
                out[part] = torch.matmul(probabilities.to(v.dtype), v[part]).mul_(weights.scale)
        ctx.save_for_backward(q, k, v, mask, out, log_sums)
        ctx.dropout = dropout
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, mask, out, log_sums = ctx.saved_tensors
        (grown,) = gradients
        dq, dk, dv = (_rows_like(one) for one in (q, k, v))
        weights = _Weights(q, k, mask, ctx.dropout, ctx.seed)
        with torch.autocast("cpu", enabled=False):
            # What the softmax's gradient takes from each score: sum_j dP_ij P_ij, dropout included.
            shared = (at_least_float32(grown) * at_least_float32(out)).sum(-1, keepdim=True)
            for part in weights.parts:
                probabilities = weights.scores(part).sub_(log_sums[part]).exp_()
                kept, scaled = weights.kept(probabilities), grown[part] * weights.scale
                through = at_least_float32(torch.matmul(scaled, v[part].transpose(-1, -2)))
                through = through.mul_(kept).sub_(shared[part]).mul_(probabilities).to(q.dtype)
                dv[part] = torch.matmul(probabilities.mul_(kept).to(v.dtype).transpose(-1, -2), scaled)
                dq[part] = torch.matmul(through, k[part]).mul_(weights.of_scores)
                dk[part] = torch.matmul(through.transpose(-1, -2), q[part]).mul_(weights.of_scores)
        return dq, dk, dv, None, None


class _Weights:
    """The parts of the scores, in order, and what is kept in each; the same again from the same seed."""

    def __init__(self, q: Tensor, k: Tensor, mask: Tensor | None, dropout: float, seed: int) -> None:
        number = _of_steps(dropout)
        self.q, self.k = q, k
        self.mask = None if mask is None else mask.expand(*q.shape[:3], k.shape[2])
        self.scale = _STEPS / (_STEPS - number)  # of what is kept
        self.of_scores = q.shape[3] ** -0.5
        self._dropped = number
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def parts(self) -> Iterator[Part]:
        """Split into whole sequences, or into heads of one sequence where those are large."""
        (batch, heads, queries, _), keys = self.q.shape, self.k.shape[2]
        sequences = max(1, SCORES_AT_ONCE // (heads * queries * keys))
        at_once = heads if sequences > 1 else min(heads, max(1, SCORES_AT_ONCE // (queries * keys)))
        for first in range(0, batch, sequences):
            for head in range(0, heads, at_once):
                yield slice(first, first + sequences), slice(head, head + at_once)

    def scores(self, part: Part) -> Tensor:
        """Return the scores of a part, in float32 at least."""
        keys = self.k[part].transpose(-1, -2)
        scores = at_least_float32(torch.matmul(self.q[part] * self.of_scores, keys))
        return scores if self.mask is None else scores.add_(self.mask[part])

    def kept(self, scores: Tensor) -> Bool[Tensor, "*shape"]:
        """Draw which weights of the next part are kept."""
        return _kept(scores, self._dropped, self._generator)


def _of_steps(dropout: float) -> int:
    """Return how many of 2**16 are dropped: never all, whose scale would be infinite."""
    return min(round(dropout * _STEPS), _STEPS - 1)


def _kept(values: Tensor, dropped: int, generator: torch.Generator | None = None) -> Bool[Tensor, "*shape"]:
    """Draw which values are kept, where ``dropped`` of 2**16 are not."""
    drawn = torch.empty(values.numel() // 4 + 1, dtype=torch.int64)
    bits = drawn.random_(-(2**63), None, generator=generator).view(torch.int16)
    return bits[: values.numel()].view(values.shape) >= dropped - _STEPS // 2  # 16 bits are signed numbers


def _rows_like(tensor: Tensor) -> Tensor:
    """Return an empty tensor in whose memory the heads of a row stand side by side, as those that read it expect."""
    batch, heads, rows, width = tensor.shape
    return tensor.new_empty(batch, rows, heads, width).transpose(1, 2)
