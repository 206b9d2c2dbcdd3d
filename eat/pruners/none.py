"""Prune nothing."""

import torch
from jaxtyping import Bool
from torch import Tensor

from eat.packed import Packed


class NoPruner:
    """Keep every token: the pruner that switches pruning off."""

    depths: tuple[int, ...] = ()
    scale = 1.0

    def needs(self, depth: int) -> bool:
        """Return False."""
        return False

    def __call__(self, state: Packed, depth: int) -> Bool[Tensor, " tokens"]:
        """Return True for every token."""
        return torch.ones_like(state.protected)

    def lengths_after(self, state: Packed, depth: int) -> tuple[int, ...]:
        """Return the lengths as they are."""
        return state.host_lengths
