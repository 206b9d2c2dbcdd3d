"""One encoder block over live rows, in the post-norm form of BERT or the pre-norm form of ModernBERT."""

import functools
from collections.abc import Callable, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eat.attention import Attention
from eat.modules.linear import Linear, activated, kept
from eat.ops.dropout import dropped
from eat.packed import Packed

# Most numbers inside the feed-forward at a time, for inference on a CPU: bounds its memory where there are many rows.
# Speed hardly depends on it.
INNER_CELLS = 6 * 2**20


class Block(nn.Module):
    """Self-attention, then feed-forward, each with a residual and a LayerNorm after it (Devlin et al. 2019).

    It is handed its parts: ``qkv`` and ``mixed`` project before and after the attention, ``inner``, ``activation`` and
    ``outer`` are the feed-forward. ``dropout`` acts on both branches, ``attention_dropout`` on attention weights.
    """

    def __init__(
        self,
        attention: Attention,
        *,
        qkv: Linear,
        mixed: Linear,
        mixed_norm: nn.Module,
        inner: Linear,
        activation: nn.Module,
        outer: nn.Module,
        outer_norm: nn.Module,
        num_heads: int,
        dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.num_heads = num_heads
        self.inner_size = inner.out_features
        self.attention_dropout = attention_dropout
        self.qkv = qkv
        self.mixed = mixed
        self.mixed_norm = mixed_norm
        self.inner = inner
        self.activation = activation
        self.outer = outer
        self.outer_norm = outer_norm
        self.dropout = dropout
        self.inner_cells = INNER_CELLS
        self.compiled = False  # whether `project` and `finish` run compiled; the first call then takes seconds

    def forward(self, state: Packed, received: bool) -> Packed:
        """Return the rows after this block, with the attention they received where asked."""
        attention_dropout = self.attention_dropout if self.training else 0.0
        project, finish = compiled_dense() if self.compiled else (type(self).project, type(self).finish)
        # Not named, so that queries, keys and values are gone before the feed-forward needs memory.
        mixed, scores = self.attention(project(self, state.rows), state, dropout=attention_dropout, received=received)
        return state.with_rows(self._in_parts(functools.partial(finish, self), state.rows, mixed), scores)

    def attended(self, state: Packed, received: bool) -> Packed:
        """Return the rows after the attention's half of the block, in evaluation; `fed_forward` is the other half."""
        mixed, scores = self.attention(self.project(state.rows), state, dropout=0.0, received=received)
        return state.with_rows(self.mix(state.rows, mixed), scores)

    def fed_forward(self, state: Packed) -> Packed:
        """Return the rows after the feed-forward's half of the block."""
        return state.with_rows(self._in_parts(self.feed_forward, state.rows), state.received)

    def _in_parts(self, function: Callable[..., Tensor], rows: Tensor, *more: Tensor) -> Tensor:
        """Apply a function of rows, on a CPU in inference to so many at a time as `INNER_CELLS` says."""
        step = max(1, self.inner_cells // self.inner_size)
        if torch.is_grad_enabled() or not rows.is_cpu or rows.shape[0] <= step:
            return function(rows, *more)
        finished = torch.empty_like(rows)
        for start in range(0, rows.shape[0], step):
            part = slice(start, start + step)
            finished[part] = function(rows[part], *(one[part] for one in more))
        return finished

    def keep(self, heads: Sequence[int], neurons: Sequence[int]) -> None:
        """Remove all attention heads and neurons but these: their rows and columns leave the matrices."""
        device, width = self.qkv.weight.device, self.mixed.in_features
        of_heads = torch.arange(width, device=device).unflatten(0, (self.num_heads, -1))
        columns = of_heads[torch.tensor(heads, device=device)].flatten()
        self.qkv = kept(self.qkv, outputs=torch.cat([columns + width * part for part in range(3)]))
        self.mixed = kept(self.mixed, inputs=columns)
        of_neurons = torch.tensor(neurons, device=device)
        self.inner = kept(self.inner, outputs=of_neurons)
        self.outer = kept(cast(Linear, self.outer), inputs=of_neurons)
        self.num_heads, self.inner_size = len(heads), len(neurons)

    def project(self, rows: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens 3 heads head_dim"]:
        """Return each row's query, key and value, by one matrix product."""
        return self.qkv(rows).unflatten(1, (3, self.num_heads, -1))

    def finish(
        self, rows: Float[Tensor, "tokens dim"], mixed: Float[Tensor, "tokens width"]
    ) -> Float[Tensor, "tokens dim"]:
        """Return the rows after attention has mixed them: projection and feed-forward, each with residual and norm."""
        return self.feed_forward(self.mix(rows, mixed))

    def mix(
        self, rows: Float[Tensor, "tokens dim"], mixed: Float[Tensor, "tokens width"]
    ) -> Float[Tensor, "tokens dim"]:
        """Return the rows after the projection behind the attention, with residual and norm."""
        return self.mixed_norm(rows + self._dropped(self.mixed(mixed)))

    def feed_forward(self, rows: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens dim"]:
        """Return the rows after the feed-forward, with residual and norm."""
        return self.outer_norm(rows + self._dropped(self.outer(activated(self.inner, rows, self.activation))))

    def _dropped(self, rows: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens dim"]:
        return dropped(rows, self.dropout) if self.training else rows


class PreNormBlock(Block):
    """The same parts with each LayerNorm before its branch, where the residual passes it by (Xiong et al. 2020).

    ``dropout`` acts on the attention's branch; the feed-forward drops inside of its activation, as in ModernBERT.
    """

    def project(self, rows: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens 3 heads head_dim"]:
        """Return query, key and value of each row, which is normalised first."""
        return super().project(self.mixed_norm(rows))

    def mix(
        self, rows: Float[Tensor, "tokens dim"], mixed: Float[Tensor, "tokens width"]
    ) -> Float[Tensor, "tokens dim"]:
        """Return the rows after the projection behind the attention; what is added to them is not normalised."""
        return rows + self._dropped(self.mixed(mixed))

    def feed_forward(self, rows: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens dim"]:
        """Return the rows after the feed-forward, which reads them normalised."""
        return rows + self.outer(activated(self.inner, self.outer_norm(rows), self.activation))


@functools.cache
def compiled_dense() -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """Return ``project`` and ``finish`` compiled, one pair for every block and every number of rows.

    They take the block as their argument, so that a copied block runs its own weights and a saved one has plain names.
    """
    project = torch.compile(lambda block, rows: block.project(rows), dynamic=True)
    return project, torch.compile(lambda block, rows, mixed: block.finish(rows, mixed), dynamic=True)
