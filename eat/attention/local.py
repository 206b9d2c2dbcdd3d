"""Local attention: a token sees its neighbours and nothing else."""

import torch
from jaxtyping import Bool
from torch import Tensor

from eat.attention.windowed import WindowedAttention
from eat.packed import Packed


class LocalAttention(WindowedAttention):
    """A window without global tokens: the local layers of ModernBERT (Warner et al. 2024, arXiv:2412.13663).

    It belongs to a backbone and is no choice for a whole model, in which [CLS] must read the sequence somewhere.

    Args:
        window: Neighbours seen, half of them on either side; even and at least 2.
    """

    def is_global(self, state: Packed) -> Bool[Tensor, " tokens"]:
        """Return that no row is global."""
        return torch.zeros_like(state.protected)

    def num_global(self, state: Packed) -> tuple[int, ...]:
        """Count none."""
        return (0,) * len(state.host_lengths)

    def pairs(self, length: int, extent: int, num_global: int) -> int:
        """Count the pairs that are computed; there are no global tokens, however many the sequence has elsewhere."""
        return super().pairs(length, extent, 0)
