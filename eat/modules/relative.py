"""What relative positions add to attention scores, as learned by a backbone."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from eat.ops.relative import relative_bucket


class RelativeBias(nn.Module):
    """A number for each bucket of distances and each head, shared by all blocks (MPNet, Song et al. 2020; T5)."""

    def __init__(self, num_buckets: int, num_heads: int) -> None:
        super().__init__()
        self.table = nn.Embedding(num_buckets, num_heads)

    def forward(
        self, queries: Int[Tensor, "*batch queries"], keys: Int[Tensor, "*batch keys"]
    ) -> Float[Tensor, "*batch heads queries keys"]:
        """Return what is added to the score of each query and key, by their original positions."""
        distance = keys.unsqueeze(-2) - queries.unsqueeze(-1)
        return self.table(relative_bucket(distance, self.table.num_embeddings)).movedim(-1, -3)
