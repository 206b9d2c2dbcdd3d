"""Select the tokens to keep: counts from lengths alone, then the best-scored ones."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eat.ops.precision import at_least_float32

SCORE_BITS = 16
"""Binary digits of a score that count: far above rounding (some 2^-22 of a score in float32), far below a difference
that says anything of two tokens."""


def keep_counts(
    lengths: Sequence[int], num_protected: Sequence[int], ratio: float, min_tokens: int = 1
) -> tuple[int, ...]:
    """Count the tokens that stay in each sequence, the protected ones included; a function of the lengths alone.

    EAT's Algorithm 1 (arXiv:2510.12856) keeps ceil((1 - p)(t - 1)) of the tokens other than [CLS]; that is
    n - floor(p n), written so that the float product may not lose a token (0.3 * 10 is below 3).

    Args:
        lengths: Live tokens of each sequence.
        num_protected: How many of them no pruner may drop.
        ratio: Fraction of the others to drop, in [0, 1).
        min_tokens: At least so many of the others stay, if there are so many.

    Raises:
        ValueError: If ratio lies outside [0, 1) or min_tokens is negative.
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"ratio: expected a number in [0, 1), got {ratio}")
    if min_tokens < 0:
        raise ValueError(f"min_tokens: expected 0 or more, got {min_tokens}")
    counts = []
    for length, protected in zip(lengths, num_protected, strict=True):
        others = length - protected
        kept = others - int(ratio * others + 1e-9)
        counts.append(protected + min(others, max(kept, min_tokens)))
    return tuple(counts)


def keep_top_tokens(
    scores: Float[Tensor, " tokens"],
    protected: Bool[Tensor, " tokens"],
    sequence: Int[Tensor, " tokens"],
    starts: Int[Tensor, " batch"],
    counts: Sequence[int],
) -> Bool[Tensor, " tokens"]:
    """Mark the ``counts`` best-scored tokens of each packed sequence; of equal ones the earlier.

    Scores are equal where `rounded_scores` are: what is equal but for rounding must not depend on the batch.

    Args:
        scores: Token importance on any real scale; higher is kept first.
        protected: True on tokens that no pruner may drop; they always stay.
        sequence: Sequence that each token belongs to, not decreasing.
        starts: First row of each sequence.
        counts: Tokens that stay in each sequence, the protected ones included.
    """
    order = rounded_scores(scores).masked_fill(protected, torch.inf).argsort(descending=True, stable=True)
    if len(counts) == 1:
        return torch.zeros_like(protected).index_fill_(0, order[: counts[0]], True)
    order = order.index_select(0, sequence.index_select(0, order).argsort(stable=True))
    rank = torch.arange(order.shape[0], device=order.device) - starts.index_select(0, sequence)
    # Not torch.tensor(..., device=), which would wait until the device is idle.
    limit = torch.tensor(counts).to(order.device, non_blocking=True).index_select(0, sequence)
    # After the second sort, row r of `order` belongs to sequence[r]: both are grouped alike.
    return torch.zeros_like(protected).scatter_(0, order, rank < limit)


def rounded_scores(scores: Float[Tensor, " tokens"]) -> Float[Tensor, " tokens"]:
    """Round scores to `SCORE_BITS` significant binary digits, to the nearest, halves away from zero.

    Scores that are equal in exact arithmetic differ by rounding, and by another one in another batch. Rounding to the
    nearest makes them equal unless they lie half-way between two values; powers of two, 1 among them, lie furthest from
    there. Scores that do differ change order about as rarely as without it.
    """
    scores = at_least_float32(scores).detach()
    whole, dropped = (torch.int64, 53 - SCORE_BITS) if scores.dtype == torch.float64 else (torch.int32, 24 - SCORE_BITS)
    # On the bits of a float: adding half of the last digit that stays carries into the exponent where it has to.
    bits = scores.view(whole) + (1 << (dropped - 1))
    return (bits & (-1 << dropped)).view(scores.dtype)
