"""What the pruners share that keep a fixed fraction: the best-scored tokens of each sequence."""

from collections.abc import Sequence

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
    """

    def __init__(
        self, depths: Sequence[int] = (2, 4), ratio: float | Sequence[float] = 0.3, min_tokens: int = 1
    ) -> None:
        self.depths = tuple(depths)
        if any(isinstance(d, bool) or not isinstance(d, int) or d < 1 for d in self.depths) or any(
            a >= b for a, b in zip(self.depths, self.depths[1:], strict=False)
        ):
            raise ValueError(f"pruner.depths: expected increasing integers of 1 or more, got {list(depths)}")
        ratios = [ratio] * len(self.depths) if isinstance(ratio, int | float) else list(ratio)
        if len(ratios) != len(self.depths):
            raise ValueError(
                f"pruner.ratio: expected one number or one per depth ({len(self.depths)} depths), got {list(ratios)}"
            )
        for value in ratios if ratios else [ratio]:
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
                raise ValueError(f"pruner.ratio: expected numbers in [0, 1), got {value!r}")
        if isinstance(min_tokens, bool) or not isinstance(min_tokens, int) or min_tokens < 0:
            raise ValueError(f"pruner.min_tokens: expected an integer of 0 or more, got {min_tokens!r}")
        self.ratios = dict(zip(self.depths, map(float, ratios), strict=True))
        self.min_tokens = min_tokens
        self.scale = 1.0

    def needs(self, depth: int) -> bool:
        """Return False: hidden states are enough, unless a member says otherwise."""
        return False

    def scores(self, state: Packed, depth: int) -> Float[Tensor, " tokens"]:
        """Return each token's importance; higher is kept first."""
        raise NotImplementedError

    def __call__(self, state: Packed, depth: int) -> Bool[Tensor, " tokens"]:
        """Return True on the tokens that stay."""
        counts = self.lengths_after(state.host_lengths, state.num_protected, depth)
        return keep_top_tokens(self.scores(state, depth), state.protected, state.sequence, state.starts, counts)

    def lengths_after(self, lengths: Sequence[int], num_protected: Sequence[int], depth: int) -> tuple[int, ...]:
        """Return how many tokens stay in each sequence."""
        return keep_counts(lengths, num_protected, self.ratios[depth] * self.scale, self.min_tokens)
