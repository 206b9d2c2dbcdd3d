"""Gated feed-forward: half of what the inner layer says gates the other half."""

from jaxtyping import Float
from torch import Tensor, nn


class Gated(nn.Module):
    """A gated linear unit, such as GeGLU (Shazeer 2020, arXiv:2002.05202), in the place of a plain activation.

    ``dropout`` acts on the product.
    """

    def __init__(self, activation: nn.Module, dropout: float) -> None:
        super().__init__()
        self.activation = activation
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: Float[Tensor, "tokens twice"]) -> Float[Tensor, "tokens inner"]:
        """Return activation(first half) * second half."""
        inner, gate = rows.chunk(2, dim=-1)
        return self.dropout(self.activation(inner) * gate)
