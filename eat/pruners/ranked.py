"""Prune a fixed fraction of each sequence, the lowest-scored tokens first."""

import dataclasses
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from eat.checks import number, shown, whole_number
from eat.ops.selection import keep_counts, keep_top_tokens
from eat.packed import Packed


@dataclasses.dataclass(eq=False)
class RankedPruner:
    """Drop ``ratio`` of each sequence's unprotected tokens after each of ``depths``, the lowest-scored first.

    A member of the family adds ``scores``. Those that are equal but for rounding count as equal, and of equal tokens
    the earlier stay, in every batch: `eat.ops.selection.rounded_scores` are compared. Defaults are EAT's
    (arXiv:2510.12856): 30 % after depths 2 and 4.

    Attributes:
        depths: Depths (1-based, increasing) after which tokens are pruned.
        ratio: Fraction to drop, in [0, 1): one for all depths or one per depth.
        min_tokens: At least so many unprotected tokens stay.
        min_retention: At least this part of the tokens that came in stays alive (EAT's floor on suspicious input), in
            [0, 1]. They are counted from the first to the last, holes in the attention mask included.
    """

    depths: Sequence[int] = (2, 4)
    ratio: int | float | Sequence[float] = 0.3
    min_tokens: int = 1
    min_retention: int | float = 0.0

    scale = 1.0  # unannotated: no argument

    def __post_init__(self) -> None:
        """Check the arguments."""
        self.depths = _checked_depths(self.depths)
        self.ratios = dict(zip(self.depths, _checked_ratios(self.ratio, len(self.depths)), strict=True))
        whole_number("pruner.min_tokens", self.min_tokens, at_least=0)
        number("pruner.min_retention", self.min_retention, at_least=0, at_most=1)

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
        raise ValueError(f"pruner.depths: expected a list of increasing integers of 1 or more, got {shown(depths)}")
    return tuple(depths)


def _checked_ratios(ratio: Any, num_depths: int) -> list[float]:
    """Return one ratio per depth."""
    one_for_all = isinstance(ratio, str) or not isinstance(ratio, Sequence)
    ratios = [number("pruner.ratio", value, at_least=0, below=1) for value in ([ratio] if one_for_all else ratio)]
    if one_for_all:
        return ratios * num_depths
    if len(ratios) != num_depths:
        raise ValueError(
            f"pruner.ratio: expected one number or one per depth ({num_depths} depths), got {shown(ratios)}"
        )
    return ratios
