"""Prune the tokens whose hidden states have the smallest L2 norm (EAT)."""

import math

from jaxtyping import Float
from torch import Tensor

from eat.ops.importance import l2_norm
from eat.packed import Packed
from eat.pruners.ranked import RankedPruner


class L2NormPruner(RankedPruner):
    """Keep the tokens whose hidden states have the largest L2 norm (EAT, arXiv:2510.12856, Algorithm 1).

    A block ends in a LayerNorm, which gives every row the same norm, sqrt(dim), before its learned gains and biases
    (Brody, Alon and Yahav 2023, arXiv:2305.02582). So norms differ by what those gains and biases make of a row's
    direction, and by nothing of its length before. While gains are still equal and biases zero, as in a fresh or barely
    trained model, all scores are equal: the earlier tokens stay, whatever they are. There, prefer
    `AttentionReceivedPruner`; ``docs/pruning.md`` compares the scores.
    """

    def scores(self, state: Packed, depth: int) -> Float[Tensor, " tokens"]:
        """Return ||h_i||_2 / sqrt(dim): 1 where a LayerNorm has neither gains nor biases, whatever the width."""
        return l2_norm(state.rows) / math.sqrt(state.rows.shape[1])
