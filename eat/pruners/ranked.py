"""What the pruners share that keep a fixed fraction: the best-scored tokens of each sequence."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from eat.ops.selection import keep_counts, keep_top_tokens
from eat.packed import Packed


class RankedPruner:
    """Drops ``ratio`` of each sequence's unprotected tokens after each of ``depths``, the lowest-scored first.

    A member of the family adds ``scores``. Defaults are EAT's (arXiv:2510.12856): 30 % after depths 2 and 4.

    Args:
        depths: Depths (1-based, increasing) after which tokens leave.
        ratio: Fraction to drop, in [0, 1): one for all depths or one per depth.
        min_tokens: At least so many unprotected tokens stay.
        min_retention: At least this part of the tokens that came in stays alive (EAT's floor on suspicious input), in
            [0, 1]. They are counted from the first to the last, holes in the attention mask included.
    """

    def __init__(
        self,
        depths: Sequence[int] = (2, 4),
        ratio: int | float | Sequence[float] = 0.3,
        min_tokens: int = 1,
        min_retention: int | float = 0.0,
    ) -> None:
        self.depths = _checked_depths(depths)
        self.ratios = dict(zip(self.depths, _checked_ratios(ratio, len(self.depths)), strict=True))
        if isinstance(min_tokens, bool) or not isinstance(min_tokens, int) or min_tokens < 0:
            raise ValueError(f"pruner.min_tokens: expected an integer of 0 or more, got {min_tokens!r}")
        self.min_tokens = min_tokens
        if isinstance(min_retention, bool) or not isinstance(min_retention, int | float) or not 0 <= min_retention <= 1:
            raise ValueError(f"pruner.min_retention: expected a number in [0, 1], got {min_retention!r}")
        self.min_retention = float(min_retention)
        self.scale = 1.0

    def needs(self, depth: int) -> bool:
        """Return False: hidden states are enough, unless a member says otherwise."""
        return False

    def scores(self, state: Packed, depth: int) -> Float[Tensor, " tokens"]:
        """Return each token's importance; higher is kept first."""
        raise NotImplementedError

    def __call__(self, state: Packed, depth: int) -> Bool[Tensor, " tokens"]:
        """Return True on the tokens that stay."""
        counts = self.lengths_after(state, depth)
        return keep_top_tokens(self.scores(state, depth), state.protected, state.sequence, state.starts, counts)

    def lengths_after(self, state: Packed, depth: int) -> tuple[int, ...]:
        """Return how many tokens stay in each sequence."""
        ratio = self.ratios[depth] * self.scale
        counts = keep_counts(state.host_lengths, state.num_protected, ratio, self.min_tokens)
        if self.min_retention == 0:
            return counts
        # A product that is a whole number must not count one more for its rounding.
        floors = (math.ceil(self.min_retention * extent - 1e-9) for extent in state.extents)
        together = zip(counts, state.host_lengths, floors, strict=True)
        return tuple(max(count, min(length, floor)) for count, length, floor in together)


def _checked_depths(depths: Any) -> tuple[int, ...]:
    if (
        not isinstance(depths, Sequence)
        or any(isinstance(depth, bool) or not isinstance(depth, int) or depth < 1 for depth in depths)
        or any(before >= after for before, after in pairwise(depths))
    ):
        raise ValueError(f"pruner.depths: expected a list of increasing integers of 1 or more, got {depths!r}")
    return tuple(depths)


def _checked_ratios(ratio: Any, num_depths: int) -> list[float]:
    """Return one ratio per depth."""
    one_for_all = isinstance(ratio, str) or not isinstance(ratio, Sequence)
    ratios = [ratio] if one_for_all else list(ratio)
    for value in ratios:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise ValueError(f"pruner.ratio: expected numbers in [0, 1), got {value!r}")
    if one_for_all:
        ratios = ratios * num_depths
    if len(ratios) != num_depths:
        raise ValueError(f"pruner.ratio: expected one number or one per depth ({num_depths} depths), got {ratios}")
    return [float(value) for value in ratios]
