"""Windowed attention in blocks: O(T (window + BLOCK)) time and memory, on any device, from plain tensor operations.

Rows are ordered by position, so two rows at most w positions apart are at most w rows apart, whatever was pruned
between them. Each block of BLOCK queries therefore needs only its own rows, w more on either side and the global
tokens; the mask inside the block decides by the original positions.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eat.ops.attention import Bias, PerHead, additive, attend, attention_probabilities, padding_mask, with_bias

BLOCK = 64


@dataclasses.dataclass(frozen=True, eq=False)
class BandLayout:
    """A group of sequences whose width is a multiple of BLOCK, each with equally many global tokens.

    ``block_mask`` is what each block's queries add to their scores: BLOCK + 2 reach rows, then the global tokens.
    """

    reach: int  # rows seen on either side, window / 2
    block_mask: Float[Tensor, "all_blocks heads_or_1 block keys"]
    key_mask: Float[Tensor, "batch heads_or_1 globals_or_1 width"] | None  # what global queries add; None for nothing
    global_columns: Int[Tensor, "batch globals"]  # column of each global token
    local_query: Bool[Tensor, "batch width"]  # True on live rows that are not global: whose block row counts

    @classmethod
    def build(
        cls,
        positions: Int[Tensor, "batch width"],
        is_global: Bool[Tensor, "batch width"],
        valid: Bool[Tensor, "batch width"] | None,
        *,
        window: int,
        num_global: int,
        dtype: torch.dtype,
    ) -> BandLayout:
        """Build the masks of a group from its original positions."""
        batch = positions.shape[0]
        reach = window // 2
        live = torch.ones_like(is_global) if valid is None else valid
        is_global = is_global & live
        columns = torch.nonzero_static(is_global, size=batch * num_global)[:, 1].view(batch, num_global)
        local_key = F.pad(live & ~is_global, (reach, reach)).unfold(1, BLOCK + 2 * reach, BLOCK)
        key_positions = F.pad(positions, (reach, reach)).unfold(1, BLOCK + 2 * reach, BLOCK)
        query_positions = positions.view(batch, -1, BLOCK)
        near = (query_positions.unsqueeze(3) - key_positions.unsqueeze(2)).abs() <= reach
        # Padding sees all, so that each query sees something: else attention and its gradients would be NaN.
        band = (near | ~live.view(batch, -1, BLOCK, 1)) & local_key.unsqueeze(2)
        visible = F.pad(band, (0, num_global), value=True).flatten(0, 1).unsqueeze(1)
        return cls(
            reach=reach,
            block_mask=additive(visible, dtype),
            key_mask=padding_mask(valid, dtype),
            global_columns=columns,
            local_query=live & ~is_global,
        )

    def biased(self, bias: Bias, positions: Int[Tensor, "batch width"]) -> BandLayout:
        """Return the same with a bias on the scores."""
        blocks = positions.unflatten(1, (-1, BLOCK))
        is_global = positions.gather(1, self.global_columns)
        near = F.pad(positions, (self.reach, self.reach)).unfold(1, BLOCK + 2 * self.reach, BLOCK)
        keys = torch.cat((near, is_global.unsqueeze(1).expand(-1, blocks.shape[1], -1)), dim=2)
        return dataclasses.replace(
            self,
            block_mask=with_bias(self.block_mask, bias(blocks, keys).flatten(0, 1)),
            key_mask=with_bias(self.key_mask, bias(is_global, positions)),
        )

    def mix(self, q: PerHead, k: PerHead, v: PerHead, dropout: float) -> PerHead:
        """Return the windowed attention's output; global queries, few of them, are multiplied with every key."""
        local = attend(self._query_blocks(q), self._key_blocks(k), self._key_blocks(v), self.block_mask, dropout)
        queries = self._global_rows(q).transpose(1, 2)
        from_global = attend(queries, k.transpose(1, 2), v.transpose(1, 2), self.key_mask, dropout)
        return local.reshape(q.shape).scatter(1, self._expanded(q), from_global)

    def received(self, q: PerHead, k: PerHead) -> Float[Tensor, "batch width"]:
        """Return the attention that each key receives: mean over heads, sum over live queries."""
        batch, width = self.local_query.shape
        num_global = self.global_columns.shape[1]
        blocks = attention_probabilities(self._query_blocks(q), self._key_blocks(k), self.block_mask).mean(1)
        blocks = (blocks * self.local_query.reshape(-1, BLOCK, 1)).sum(1).view(batch, width // BLOCK, -1)
        window = BLOCK + 2 * self.reach
        first = torch.arange(0, width, BLOCK, device=q.device)
        column = first.unsqueeze(1) + torch.arange(window, device=q.device)
        total = q.new_zeros(batch, width + 2 * self.reach)
        total = total.index_add(1, column.reshape(-1), blocks[:, :, :window].reshape(batch, -1))
        total = total[:, self.reach : self.reach + width]
        total = total.scatter_add(1, self.global_columns, blocks[:, :, window:].sum(1).reshape(batch, num_global))
        from_global = attention_probabilities(self._global_rows(q).transpose(1, 2), k.transpose(1, 2), self.key_mask)
        return total + from_global.mean(1).sum(1)

    def _query_blocks(self, q: Tensor) -> Float[Tensor, "all_blocks heads block head_dim"]:
        return q.unflatten(1, (-1, BLOCK)).flatten(0, 1).transpose(1, 2)

    def _key_blocks(self, k: Tensor) -> Float[Tensor, "all_blocks heads keys head_dim"]:
        windows = F.pad(k, (0, 0, 0, 0, self.reach, self.reach)).unfold(1, BLOCK + 2 * self.reach, BLOCK)
        windows = windows.permute(0, 1, 2, 4, 3)
        shared = self._global_rows(k).transpose(1, 2).unsqueeze(1).expand(-1, windows.shape[1], -1, -1, -1)
        return torch.cat((windows, shared), dim=3).flatten(0, 1)

    def _global_rows(self, rows: Tensor) -> Float[Tensor, "batch globals heads head_dim"]:
        return rows.gather(1, self._expanded(rows))

    def _expanded(self, rows: Tensor) -> Int[Tensor, "batch globals heads head_dim"]:
        return self.global_columns[:, :, None, None].expand(-1, -1, *rows.shape[2:])


def computed_pairs(width: int, window: int, num_global: int) -> int:
    """Count the query-key products of a sequence of ``width`` tokens, the ones that the mask hides included."""
    blocks = -(-width // BLOCK)
    return blocks * BLOCK * (BLOCK + 2 * (window // 2) + num_global) + num_global * blocks * BLOCK
