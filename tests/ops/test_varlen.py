"""What the flash kernel is handed: the kernel itself runs on a GPU, and a loop stands in for it here."""

import torch

from eat.ops.varlen import sequence_offsets, varlen_attention
from tests.reference.flash import looped


def test_offsets():
    offsets = sequence_offsets(torch.tensor([3, 1, 4]))
    assert offsets.tolist() == [0, 3, 4, 8] and offsets.dtype == torch.int32


def test_each_sequence_attends_alone(monkeypatch):
    monkeypatch.setattr("eat.ops.varlen.varlen_attn", looped)
    qkv = torch.randn(8, 3, 2, 4, dtype=torch.float64)
    mixed = varlen_attention(qkv, sequence_offsets(torch.tensor([3, 1, 4])), 4)
    assert mixed.shape == (8, 8)
    torch.testing.assert_close(mixed[3], qkv[3, 2].flatten())
    alone = varlen_attention(qkv[4:], sequence_offsets(torch.tensor([4])), 4)
    torch.testing.assert_close(mixed[4:], alone)
