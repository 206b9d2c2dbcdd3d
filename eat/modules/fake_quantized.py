"""Layers that compute in training what those of `eat.modules.quantized` will: on float weights, rounded in use."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from eat.modules.linear import Linear
from eat.ops.int8 import fake_quantized_rows, fake_quantized_weight
from eat.ops.linear import linear


class FakeQuantizedLinear(Linear):
    """A dense layer on the weights of another, which rounds weight and rows as `QuantizedLinear` does once active."""

    def __init__(self, layer: nn.Linear, bits: int) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.bits = bits
        self.active = False

    def forward(self, rows: Float[Tensor, "tokens inputs"], *, gelu: bool = False) -> Float[Tensor, "tokens outputs"]:
        """Return rows W^T + b, or the exact GELU of it."""
        if not self.active:
            return super().forward(rows, gelu=gelu)
        return linear(fake_quantized_rows(rows, self.bits), fake_quantized_weight(self.weight), self.bias, gelu=gelu)

    def plain(self) -> Linear:
        """Return the layer as it was, on the same weights."""
        layer = Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        layer.weight, layer.bias = self.weight, self.bias
        return layer


class FakeQuantizedEmbedding(nn.Embedding):
    """A table on the weights of another, which rounds rows as `QuantizedEmbedding` does once active."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__(table.num_embeddings, table.embedding_dim, device="meta")
        self.weight = table.weight
        self.active = False

    def forward(self, ids: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens width"]:
        """Return the rows of some words."""
        rows: Tensor = super().forward(ids)
        return fake_quantized_weight(rows) if self.active else rows

    def plain(self) -> nn.Embedding:
        """Return the table as it was, on the same weights."""
        table = nn.Embedding(self.num_embeddings, self.embedding_dim, device="meta")
        table.weight = self.weight
        return table
