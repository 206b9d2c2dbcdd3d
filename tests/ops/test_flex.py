"""FlexAttention's rule and block map against the dense band; the kernel itself runs on a GPU, its eager form here."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eat.ops.attention import band_visible
from eat.ops.flex import BLOCK, flex_windowed, needed_blocks, visible_pair, window_block_mask

HEADS, HEAD_DIM = 2, 16


def packed(lengths, holes, sep, seed):
    """Positions, sequence and global tokens of a batch in which a share of the tokens has been pruned away."""
    generator = torch.Generator().manual_seed(seed)
    positions = []
    for length in lengths:
        stays = torch.rand(length, generator=generator) >= holes
        stays[0] = True
        positions.append(stays.nonzero()[:, 0])
    counts = torch.tensor([len(part) for part in positions])
    is_global = torch.zeros(int(counts.sum()), dtype=torch.bool)
    is_global[counts.cumsum(0) - counts] = True
    if sep:
        is_global[counts.cumsum(0) - 1] = True
    return torch.cat(positions), torch.repeat_interleave(counts), is_global


def dense(positions, sequence, is_global, reach):
    """The band of all rows as if they were one sequence, then only pairs within one sequence."""
    band = band_visible(positions[None], is_global[None], None, 2 * reach)[0]
    return band & (sequence[:, None] == sequence[None])


def covered(blocks, tokens):
    return blocks.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)[:tokens, :tokens]


batches = given(
    lengths=st.lists(st.integers(1, 400), min_size=1, max_size=6),
    reach=st.integers(1, 150),
    holes=st.sampled_from([0.0, 0.3, 0.7]),
    sep=st.booleans(),
    seed=st.integers(0, 100),
)


@batches
def test_the_rule_is_the_dense_band(lengths, reach, holes, sep, seed):
    rows = packed(lengths, holes, sep, seed)
    index = torch.arange(len(rows[0]))
    zero = torch.tensor(0)
    assert torch.equal(visible_pair(*rows, reach)(zero, zero, index[:, None], index), dense(*rows, reach))


@batches
def test_no_visible_pair_lies_in_a_block_left_out(lengths, reach, holes, sep, seed):
    positions, sequence, is_global = packed(lengths, holes, sep, seed)
    blocks = needed_blocks(sequence, is_global, reach)
    assert torch.equal(blocks, blocks.T), "the backward pass reads the same map"
    assert not (dense(positions, sequence, is_global, reach) & ~covered(blocks, len(positions))).any()


def test_blocks_out_of_reach_are_left_out():
    rows = packed([20 * BLOCK], holes=0.0, sep=False, seed=0)
    blocks = needed_blocks(*rows[1:], 16)
    assert blocks[0].all() and blocks[:, 0].all(), "[CLS] sees all and is seen by all"
    assert blocks[10].nonzero()[:, 0].tolist() == [0, 9, 10, 11]


def test_other_sequences_are_left_out():
    rows = packed([BLOCK] * 6, holes=0.0, sep=True, seed=0)
    assert torch.equal(needed_blocks(*rows[1:], 16), torch.eye(6, dtype=torch.bool))


@pytest.mark.parametrize("lengths", [[1], [40, 300, 7], [BLOCK, BLOCK], [500]])
@pytest.mark.parametrize("sep", [False, True])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
def test_flex_equals_the_dense_product(lengths, sep):
    rows = packed(lengths, holes=0.3, sep=sep, seed=1)
    qkv = torch.randn(len(rows[0]), 3, HEADS, HEAD_DIM)
    q, k, v = qkv.transpose(0, 2).unbind(1)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=dense(*rows, 16))
    with torch.no_grad():
        mixed = flex_windowed(qkv, window_block_mask(*rows, 16))
    torch.testing.assert_close(mixed, expected.transpose(0, 1).flatten(1), rtol=0, atol=1e-5)
