"""Choose which weights stay: how many at each moment of a training, and the largest so many of some scores."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def cubic_share(final: float, progress: float) -> float:
    """Return the share that is kept at a moment of the pruning: 1 before it, ``final`` after it.

    v = v_f + (1 - v_f)(1 - p)^3 (Zhu and Gupta 2017, arXiv:1710.01878, eq. 1): most is removed early, while much is
    there that is not needed, and ever less towards the end.

    Args:
        final: v_f, the share that is kept in the end, in [0, 1].
        progress: p, the part of the pruning that is over; below 0 it has not begun, above 1 it has ended.
    """
    remaining = 1.0 - min(1.0, max(0.0, progress))
    return final + (1.0 - final) * remaining**3


def kept_count(share: float, number: int) -> int:
    """Return how many of a number of things a share is: rounded, at least one."""
    return max(1, min(number, round(share * number)))


@torch.no_grad()
def keep_largest(scores: Float[Tensor, " *shape"], count: int) -> Bool[Tensor, " *shape"]:
    """Mark the ``count`` largest of some scores, which may have any shape; of equal ones the earlier.

    Selected, not sorted: of half a million scores in some milliseconds on one core.

    Args:
        scores: Any real numbers.
        count: How many are marked, from 1 to all.
    """
    if count == scores.numel():
        return torch.ones_like(scores, dtype=torch.bool)
    flat = scores.flatten()
    threshold = flat.kthvalue(flat.numel() - count + 1).values
    kept, equal = flat > threshold, flat == threshold
    missing = count - kept.sum()
    return (kept | (equal & (equal.cumsum(0) <= missing))).view(scores.shape)


def straight_through(mask: Bool[Tensor, " *shape"], scores: Float[Tensor, " *shape"]) -> Float[Tensor, " *shape"]:
    """Return a mask as zeros and ones whose gradient goes to the scores as it is (Bengio et al. 2013)."""
    return mask.to(scores.dtype) + (scores - scores.detach())
