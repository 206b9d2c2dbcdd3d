"""Rotary positions in front of any attention part."""

from jaxtyping import Float
from torch import Tensor

from eat.attention import Attention
from eat.ops.rotary import rotary_angles, rotated
from eat.packed import Packed


class RotaryAttention:
    """Turn queries and keys by their original positions, then attend (RoFormer, Su et al. 2021, arXiv:2104.09864).

    Pruning does not move the tokens that stay: what they see of each other depends on where they stood.

    Args:
        attention: The part that attends.
        theta: Base of the angles: pair i of a head's numbers turns by position / theta^(2 i / head_dim).
    """

    def __init__(self, attention: Attention, theta: float) -> None:
        self.attention = attention
        self.theta = theta
        self.global_tokens = attention.global_tokens

    def __call__(
        self, qkv: Float[Tensor, "tokens 3 heads head_dim"], state: Packed, *, dropout: float, received: bool
    ) -> tuple[Float[Tensor, "tokens dim"], Float[Tensor, " tokens"] | None]:
        """Return the mixed rows and, where asked, the attention that each row received."""
        # Of all parts with this base alike: they turn the same positions.
        angles = state.cached(
            RotaryAttention,
            f"theta {self.theta}",
            lambda: rotary_angles(state.positions, self.theta, qkv.shape[3], state.rows.dtype),
        )
        return self.attention(rotated(qkv, *angles), state, dropout=dropout, received=received)

    def pairs(self, length: int, extent: int, num_global: int) -> int:
        """Count the pairs of the part that attends."""
        return self.attention.pairs(length, extent, num_global)
