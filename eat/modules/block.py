"""One encoder block over live rows, in the post-norm form of BERT."""

import torch.nn.functional as F
from torch import nn

from eat.attention import Attention
from eat.packed import Packed


class Block(nn.Module):
    """Self-attention, then feed-forward, each with a residual and a LayerNorm after it (Devlin et al. 2019).

    Args:
        attention: How rows of a sequence mix; one part is shared by all blocks.
        activation: Nonlinearity of the feed-forward.
        dim: Width of a row.
        num_heads: Attention heads.
        intermediate_size: Width of the feed-forward.
        norm_eps: Epsilon of the LayerNorms.
        dropout: Dropout probability on both branches.
        attention_dropout: Dropout probability on attention weights.
    """

    def __init__(
        self,
        attention: Attention,
        activation: nn.Module,
        *,
        dim: int,
        num_heads: int,
        intermediate_size: int,
        norm_eps: float,
        dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.num_heads = num_heads
        self.attention_dropout = attention_dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.mixed = nn.Linear(dim, dim)
        self.mixed_norm = nn.LayerNorm(dim, eps=norm_eps)
        self.inner = nn.Linear(dim, intermediate_size)
        self.activation = activation
        self.outer = nn.Linear(intermediate_size, dim)
        self.outer_norm = nn.LayerNorm(dim, eps=norm_eps)
        self.dropout = dropout

    def forward(self, state: Packed, received: bool) -> Packed:
        """Return the rows after this block, with the attention they received where asked."""
        rows = state.rows
        qkv = self.qkv(rows).unflatten(1, (3, self.num_heads, -1))
        attention_dropout = self.attention_dropout if self.training else 0.0
        mixed, scores = self.attention(qkv, state, dropout=attention_dropout, received=received)
        rows = self.mixed_norm(rows + F.dropout(self.mixed(mixed), self.dropout, self.training))
        inner = self.outer(self.activation(self.inner(rows)))
        rows = self.outer_norm(rows + F.dropout(inner, self.dropout, self.training))
        return state.with_rows(rows, scores)
