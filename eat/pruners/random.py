"""The control: any better pruner must beat it."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from eat.ops.importance import hashed
from eat.packed import Packed
from eat.pruners.ranked import RankedPruner


class RandomPruner(RankedPruner):
    """Keeps tokens by a hash of (seed, depth, position, token id): as if at random, yet the same in any batch.

    Args:
        depths: Depths (1-based, increasing) after which tokens leave.
        ratio: Fraction to drop, in [0, 1): one for all depths or one per depth.
        min_tokens: At least so many unprotected tokens stay.
        seed: Another seed, another draw.
        min_retention: At least this part of the tokens that came in stays alive, in [0, 1].
    """

    def __init__(
        self,
        depths: Sequence[int] = (2, 4),
        ratio: int | float | Sequence[float] = 0.3,
        min_tokens: int = 1,
        seed: int = 0,
        min_retention: int | float = 0.0,
    ) -> None:
        super().__init__(depths, ratio, min_tokens, min_retention)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise ValueError(f"pruner.seed: expected an integer, got {seed!r}")
        self.seed = seed

    def scores(self, state: Packed, depth: int) -> Float[Tensor, " tokens"]:
        """Return the hash as a number in [0, 1)."""
        return hashed(state.positions, state.token_ids, depth=depth, seed=self.seed)
