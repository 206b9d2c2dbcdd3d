"""One encoder block over live rows, in the post-norm form of BERT."""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from eat.attention import Attention
from eat.modules.linear import Linear, activated
from eat.packed import Packed

# Most numbers inside the feed-forward at a time, for inference on a CPU: bounds its memory where there are many rows.
# Speed hardly depends on it.
INNER_CELLS = 6 * 2**20


class Block(nn.Module):
    """Self-attention, then feed-forward, each with a residual and a LayerNorm after it (Devlin et al. 2019).

    One attention part is shared by all blocks. ``activation`` and ``intermediate_size`` are the feed-forward's;
    ``dropout`` acts on both branches, ``attention_dropout`` on attention weights.
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
        self.intermediate_size = intermediate_size
        self.attention_dropout = attention_dropout
        self.qkv = Linear(dim, 3 * dim)
        self.mixed = Linear(dim, dim)
        self.mixed_norm = nn.LayerNorm(dim, eps=norm_eps)
        self.inner = Linear(dim, intermediate_size)
        self.activation = activation
        self.outer = Linear(intermediate_size, dim)
        self.outer_norm = nn.LayerNorm(dim, eps=norm_eps)
        self.dropout = dropout
        self.inner_cells = INNER_CELLS
        self.compiled = False  # whether `project` and `finish` run compiled; the first call then takes seconds

    def forward(self, state: Packed, received: bool) -> Packed:
        """Return the rows after this block, with the attention they received where asked."""
        attention_dropout = self.attention_dropout if self.training else 0.0
        project, finish = compiled_dense() if self.compiled else (Block.project, Block.finish)
        # Not named, so that queries, keys and values are gone before the feed-forward needs memory.
        mixed, scores = self.attention(project(self, state.rows), state, dropout=attention_dropout, received=received)
        rows, step = state.rows, max(1, self.inner_cells // self.intermediate_size)
        if torch.is_grad_enabled() or not rows.is_cpu or rows.shape[0] <= step:
            return state.with_rows(finish(self, rows, mixed), scores)
        finished = torch.empty_like(rows)
        for start in range(0, rows.shape[0], step):
            part = slice(start, start + step)
            finished[part] = finish(self, rows[part], mixed[part])
        return state.with_rows(finished, scores)

    def project(self, rows: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens 3 heads head_dim"]:
        """Return each row's query, key and value, by one matrix product."""
        return self.qkv(rows).unflatten(1, (3, self.num_heads, -1))

    def finish(
        self, rows: Float[Tensor, "tokens dim"], mixed: Float[Tensor, "tokens dim"]
    ) -> Float[Tensor, "tokens dim"]:
        """Return the rows after attention has mixed them: projection and feed-forward, each with residual and norm."""
        rows = self.mixed_norm(rows + self._dropped(self.mixed(mixed)))
        return self.outer_norm(rows + self._dropped(self.outer(activated(self.inner, rows, self.activation))))

    def _dropped(self, rows: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens dim"]:
        return F.dropout(rows, self.dropout) if self.training else rows


@functools.cache
def compiled_dense() -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """Return ``Block.project`` and ``Block.finish`` compiled, one pair for every block and every number of rows.

    They take the block as their argument, so that a copied block runs its own weights and a saved one has plain names.
    """
    return torch.compile(Block.project, dynamic=True), torch.compile(Block.finish, dynamic=True)
