"""Blocks with different attention parts: none reads the groups or masks that another made for the same rows."""

import pytest
import torch

from eat.attention import build_attention
from eat.models.encoder import AdaptiveEncoder
from eat.modules.block import Block
from eat.packed import Packed
from tests.attention.test_windowed import dense, packed, random_qkv
from tests.reference.tiny import batch_of, configure, tiny_adaptive

FULL = {"name": "full"}
NARROW, WIDE = {"name": "windowed", "window": 2}, {"name": "windowed", "window": 8}
LENGTHS = [20, 3, 11, 1, 15]
NEVER = {"name": "never"}


def mix(encoder: AdaptiveEncoder, specs):
    for block, spec in zip(encoder.blocks, specs, strict=True):
        block.attention = build_attention(spec)


def logits(model):
    with torch.no_grad():
        return model(*batch_of(LENGTHS), trace=True).all_logits


@pytest.mark.parametrize("pruner", [{"name": "none"}, {"name": "attention_received", "depths": [1], "ratio": 0.3}])
@pytest.mark.parametrize("specs", [(FULL, NARROW, FULL), (NARROW, WIDE, NARROW), (WIDE, FULL, NARROW)])
def test_each_block_attends_by_its_own_part(specs, pruner, monkeypatch):
    model = configure(tiny_adaptive().double(), FULL, pruner, NEVER)
    mix(model.encoder, specs)
    mixed = logits(model)
    forward = Block.forward
    monkeypatch.setattr(Block, "forward", lambda block, state, received: forward(block, state.uncached(), received))
    torch.testing.assert_close(mixed, logits(model), rtol=0, atol=0)
    monkeypatch.undo()
    for spec in specs:
        mix(model.encoder, [spec] * 3)
        assert not torch.allclose(logits(model), mixed), "no one part for all blocks gives the same"


@pytest.mark.parametrize("windows", [(4, 16), (16, 4)])
def test_two_windows_on_the_same_rows_equal_the_dense_products(windows):
    state: Packed = packed([40, 7, 25], holes=0.2, sep=True)
    qkv = random_qkv(state)
    for window in windows:
        part = build_attention({"name": "windowed", "window": window})
        output, received = part(qkv, state, dropout=0.0, received=True)
        expected, expected_received = dense(qkv, state, window)
        torch.testing.assert_close(output, expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(received, expected_received, rtol=1e-10, atol=1e-10)
