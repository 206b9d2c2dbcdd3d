import pytest
import torch

from eat.ops.attention import DenseLayout, additive, band_visible
from eat.ops.band import BLOCK, BandLayout, computed_pairs


def group(batch, width, num_global, seed=0):
    """Sequences of a common width with holes between their positions, and globals anywhere in the first block."""
    generator = torch.Generator().manual_seed(seed)
    positions = torch.stack(
        [torch.randperm(2 * width, generator=generator)[:width].sort().values for _ in range(batch)]
    )
    is_global = torch.zeros(batch, width, dtype=torch.bool)
    for i in range(batch):
        others = 1 + torch.randperm(BLOCK - 1, generator=generator)[: num_global - 1]
        is_global[i, torch.cat((torch.tensor([0]), others))] = True
    qkv = torch.randn(3, batch, width, 2, 4, generator=generator, dtype=torch.float64)
    return positions, is_global, qkv


@pytest.mark.parametrize("num_global", [1, 3])
@pytest.mark.parametrize("window", [2, 30, 4 * BLOCK])
@pytest.mark.parametrize("padded", [False, True])
def test_blocks_equal_the_dense_product(window, num_global, padded):
    positions, is_global, (q, k, v) = group(2, 3 * BLOCK, num_global)
    valid = None
    if padded:
        valid = torch.arange(3 * BLOCK) < torch.tensor([[3 * BLOCK], [2 * BLOCK + 5]])
    visible = band_visible(positions, is_global, valid, window)
    dense = DenseLayout(additive(visible, q.dtype).unsqueeze(1), valid)
    band = BandLayout.build(positions, is_global, valid, window=window, num_global=num_global, dtype=q.dtype)
    live = torch.ones_like(is_global) if valid is None else valid
    torch.testing.assert_close(band.mix(q, k, v, 0.0)[live], dense.mix(q, k, v, 0.0)[live])
    torch.testing.assert_close(band.received(q, k)[live], dense.received(q, k)[live])
    assert band.mix(q, k, v, 0.0).isfinite().all(), "padding gives no NaN that a gradient would spread"


def test_pairs_grow_linearly():
    assert computed_pairs(64, 32, 1) == 64 * (64 + 32 + 1) + 64
    assert computed_pairs(65, 32, 1) == computed_pairs(128, 32, 1) == 2 * computed_pairs(64, 32, 1)
    assert computed_pairs(4096, 32, 2) == 64 * computed_pairs(64, 32, 2)
