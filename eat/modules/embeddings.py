"""Embed words, and where the backbone has tables for them positions and token types, as rows."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from eat.modules.linear import Linear


class Embeddings(nn.Module):
    """The sum of word, position and type embeddings, normalised; projected where their width differs from ``dim``.

    ``num_types`` is 0 where the backbone has no token types (DistilBERT), ``num_positions`` where attention alone knows
    of positions (ModernBERT).
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        num_positions: int,
        num_types: int,
        width: int,
        dim: int,
        norm: nn.Module,
        dropout: float,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(num_positions, width) if num_positions else None
        self.types = nn.Embedding(num_types, width) if num_types else None
        self.norm = norm
        self.dropout = nn.Dropout(dropout)
        self.project = Linear(width, dim) if width != dim else nn.Identity()
        self.position_bias: nn.Module | None = None  # what attention adds to its scores, where a backbone learned that

    def forward(
        self,
        token_ids: Int[Tensor, " tokens"],
        position_ids: Int[Tensor, " tokens"],
        type_ids: Int[Tensor, " tokens"] | None = None,
    ) -> Float[Tensor, "tokens dim"]:
        """Return one row a token; types default to 0."""
        rows = self.words(token_ids)
        if self.positions is not None:
            rows = rows + self.positions(position_ids)
        if self.types is not None:
            # By a call, not by its weight: an adapter around the table takes part.
            rows = rows + self.types(token_ids.new_zeros(1) if type_ids is None else type_ids)
        return self.project(self.dropout(self.norm(rows)))
