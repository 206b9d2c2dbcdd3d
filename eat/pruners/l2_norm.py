"""Prune the tokens whose hidden states have the smallest L2 norm (EAT)."""

from jaxtyping import Float
from torch import Tensor

from eat.ops.importance import l2_norm
from eat.packed import Packed
from eat.pruners.ranked import RankedPruner


class L2NormPruner(RankedPruner):
    """Keep the tokens whose hidden states have the largest L2 norm (EAT, arXiv:2510.12856, Algorithm 1)."""

    def scores(self, state: Packed, depth: int) -> Float[Tensor, " tokens"]:
        """Return ||h_i||_2."""
        return l2_norm(state.rows)
