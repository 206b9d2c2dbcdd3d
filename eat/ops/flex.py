"""Windowed attention on packed rows through FlexAttention: one kernel for the whole batch, blocks out of reach skipped.

The block map says which blocks of rows may hold a visible pair; inside them the exact rule decides pair by pair, by
original positions. The map may therefore be generous, and is made from a few comparisons between blocks instead of
the mask of all pairs.
"""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

BLOCK = 128  # rows of a block: FlexAttention's own default


def visible_pair(
    positions: Int[Tensor, " tokens"], sequence: Int[Tensor, " tokens"], is_global: Bool[Tensor, " tokens"], reach: int
) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Return the rule (batch, head, query row, key row) -> whether the query sees the key.

    Rows of one sequence see each other where their positions are at most ``reach`` apart or one of them is global.
    """
    return lambda _batch, _head, query, key: (
        (sequence[query] == sequence[key])
        & (((positions[query] - positions[key]).abs() <= reach) | is_global[query] | is_global[key])
    )


def needed_blocks(
    sequence: Int[Tensor, " tokens"], is_global: Bool[Tensor, " tokens"], reach: int
) -> Bool[Tensor, "blocks blocks"]:
    """Mark the pairs of blocks that may hold a visible pair; symmetric.

    Positions grow within a sequence, so rows further apart than ``reach`` are out of it whatever their positions.
    """
    tokens = sequence.shape[0]
    padding = (0, -tokens % BLOCK)
    first = sequence[::BLOCK]
    last = F.pad(sequence, padding, value=-1).view(-1, BLOCK).amax(1)
    # The sequences of a block's global rows; an empty range (from tokens to -1) where it has none.
    first_global = F.pad(sequence.where(is_global, tokens), padding, value=tokens).view(-1, BLOCK).amin(1)
    last_global = F.pad(sequence.where(is_global, -1), padding, value=-1).view(-1, BLOCK).amax(1)

    block = torch.arange(first.shape[0], device=sequence.device)
    near = ((block.unsqueeze(1) - block).abs() - 1) * BLOCK < reach
    shared = (first.unsqueeze(1) <= last) & (last.unsqueeze(1) >= first)
    from_global = (first_global.unsqueeze(1) <= last) & (last_global.unsqueeze(1) >= first)
    return (near & shared) | from_global | from_global.T


def window_block_mask(
    positions: Int[Tensor, " tokens"], sequence: Int[Tensor, " tokens"], is_global: Bool[Tensor, " tokens"], reach: int
) -> BlockMask:
    """Return FlexAttention's mask of packed rows; sequences stand end to end, and positions grow within each."""
    needed = needed_blocks(sequence, is_global, reach)
    counts = needed.sum(1, dtype=torch.int32)[None, None]
    indices = needed.byte().argsort(dim=1, descending=True, stable=True).int()[None, None]
    return BlockMask(
        seq_lengths=(sequence.shape[0], sequence.shape[0]),
        kv_num_blocks=counts,
        kv_indices=indices,
        full_kv_num_blocks=None,
        full_kv_indices=None,
        q_num_blocks=counts,  # the map is symmetric, so the backward pass reads the same
        q_indices=indices,
        full_q_num_blocks=None,
        full_q_indices=None,
        BLOCK_SIZE=(BLOCK, BLOCK),
        mask_mod=visible_pair(positions, sequence, is_global, reach),
    )


def flex_windowed(
    qkv: Float[Tensor, "tokens 3 heads head_dim"], mask: BlockMask, attend: Callable[..., Tensor] = flex_attention
) -> Float[Tensor, "tokens dim"]:
    """Return the windowed attention's output; ``attend`` is compiled wherever speed matters."""
    q, k, v = (part.transpose(0, 1).unsqueeze(0) for part in qkv.unbind(1))
    # Short inputs would otherwise take a decoding kernel, which has limits of its own.
    mixed = attend(q, k, v, block_mask=mask, kernel_options={"FORCE_USE_FLEX_ATTENTION": True})
    return mixed.squeeze(0).transpose(0, 1).flatten(1)


@functools.cache
def compiled_flex() -> Callable[..., Tensor]:
    """Return FlexAttention compiled once for all lengths; uncompiled it would hold the scores of all pairs."""
    return torch.compile(flex_attention)
