"""Attention parts: live rows in, mixed rows out."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from eat.attention.full import FullAttention
from eat.attention.windowed import WindowedAttention
from eat.packed import Packed
from eat.registry import Family, build_part

__all__ = ["ATTENTIONS", "Attention", "build_attention"]


@runtime_checkable
class Attention(Protocol):
    """Mixes the live rows of each sequence.

    Attributes:
        global_tokens: Which tokens are global and so protected from pruning: "cls" always, "sep" as an option.
    """

    global_tokens: tuple[str, ...]

    def __call__(
        self, qkv: Float[Tensor, "tokens 3 heads head_dim"], state: Packed, *, dropout: float, received: bool
    ) -> tuple[Float[Tensor, "tokens dim"], Float[Tensor, " tokens"] | None]:
        """Return the mixed rows and, where asked, the attention that each row received."""
        ...

    def pairs(self, length: int, extent: int, num_global: int) -> int:
        """Count the query-key products computed for one sequence of ``length`` live tokens (alone in its batch)."""
        ...


ATTENTIONS: Family[Callable[..., Attention]] = Family(
    "eat.attentions", {"full": FullAttention, "windowed": WindowedAttention}
)


def build_attention(spec: Mapping[str, Any]) -> Attention:
    """Build an attention part from ``{"name": ..., **arguments}``."""
    return build_part("attention", ATTENTIONS, spec)
