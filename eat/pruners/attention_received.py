"""Prune the tokens that receive the least attention (PoWER-BERT)."""

from jaxtyping import Float
from torch import Tensor

from eat.packed import Packed
from eat.pruners.ranked import RankedPruner


class AttentionReceivedPruner(RankedPruner):
    """Keep the tokens that received most attention (PoWER-BERT, Goyal et al. 2020; EAT's alternative score).

    The score is softmax(Q K^T / sqrt(d)) of the block just run, before dropout, mean over heads and sum over live
    queries; the block computes it at this pruner's depths only.
    """

    def needs(self, depth: int) -> bool:
        """Return True at pruning depths."""
        return depth in self.depths

    def scores(self, state: Packed, depth: int) -> Float[Tensor, " tokens"]:
        """Return the attention received."""
        if state.received is None:
            raise ValueError(f"received: the block of depth {depth} did not fill it, though this pruner needs it")
        return state.received
