"""Prune at random: the control that any better pruner must beat."""

import dataclasses

from jaxtyping import Float
from torch import Tensor

from eat.checks import shown
from eat.ops.importance import hashed
from eat.packed import Packed
from eat.pruners.ranked import RankedPruner


@dataclasses.dataclass(eq=False)
class RandomPruner(RankedPruner):
    """Keep tokens by a hash of (seed, depth, position, token id): as if at random, yet the same in any batch.

    Attributes:
        seed: Another seed, another draw.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ValueError(f"pruner.seed: expected an integer, got {shown(self.seed)}")

    def scores(self, state: Packed, depth: int) -> Float[Tensor, " tokens"]:
        """Return the hash as a number in [0, 1)."""
        return hashed(state.positions, state.token_ids, depth=depth, seed=self.seed)
