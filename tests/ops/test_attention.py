import pytest
import torch

from eat.ops.attention import QUERY_CHUNK, DenseLayout, additive, attention_probabilities, band_visible


def random_rows(batch, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, batch, width, 2, 4, generator=generator, dtype=torch.float64)


def by_hand(q, k, v, visible):
    """Loops over sequences, heads and queries."""
    batch, width, heads, head_dim = q.shape
    mixed, received = torch.zeros_like(q), q.new_zeros(batch, width)
    for b in range(batch):
        for h in range(heads):
            for i in range(width):
                scores = (k[b, :, h] @ q[b, i, h]) / head_dim**0.5
                weights = torch.exp(scores) * visible[b, i]
                weights = weights / weights.sum()
                mixed[b, i, h] = weights @ v[b, :, h]
                received[b] += weights / heads
    return mixed, received


@pytest.mark.parametrize("width", [1, 5, 12])
def test_dense_without_a_mask(width):
    q, k, v = random_rows(2, width)
    mixed, received = by_hand(q, k, v, torch.ones(2, width, width))
    layout = DenseLayout(None, None)
    torch.testing.assert_close(layout.mix(q, k, v, 0.0), mixed)
    torch.testing.assert_close(layout.received(q, k), received)


def test_padding_neither_gives_nor_receives():
    q, k, v = random_rows(2, 6)
    valid = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    layout = DenseLayout(additive(valid, torch.float64)[:, None, None], valid)
    short = DenseLayout(None, None)
    torch.testing.assert_close(layout.mix(q, k, v, 0.0)[1:, :4], short.mix(q[1:, :4], k[1:, :4], v[1:, :4], 0.0))
    received = layout.received(q, k)
    torch.testing.assert_close(received[1:, :4], short.received(q[1:, :4], k[1:, :4]))
    assert received[1, 4:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("masked", [False, True])
def test_received_in_chunks_of_queries(masked):
    width = 2 * QUERY_CHUNK + 3
    q, k, _ = random_rows(1, width)
    visible = torch.ones(1, width, width, dtype=torch.bool)
    if masked:
        positions = torch.arange(width).unsqueeze(0)
        visible = band_visible(positions, positions == 0, None, window=8)
    mask = additive(visible, torch.float64).unsqueeze(1) if masked else None
    at_once = attention_probabilities(q.transpose(1, 2), k.transpose(1, 2), mask).mean(1).sum(1)
    torch.testing.assert_close(DenseLayout(mask, None).received(q, k), at_once)


def test_probabilities_are_softmax():
    q, k, _ = random_rows(1, 3)
    probabilities = attention_probabilities(q, k, None)
    torch.testing.assert_close(probabilities, torch.softmax(q @ k.transpose(-1, -2) / 2.0, -1))
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(1, 3, 2, dtype=torch.float64))


def test_band_by_hand():
    visible = band_visible(
        torch.tensor([[0, 1, 2, 5, 6]]), torch.tensor([[True, False, False, False, False]]), None, window=2
    )
    assert visible[0].int().tolist() == [
        [1, 1, 1, 1, 1],  # [CLS] sees all
        [1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0],  # 5 is three positions away, though it is the next row
        [1, 0, 0, 1, 1],
        [1, 0, 0, 1, 1],
    ]


def test_band_hides_padding_from_all():
    positions, is_global = torch.arange(4).unsqueeze(0), torch.tensor([[True, False, False, False]])
    visible = band_visible(positions, is_global, torch.tensor([[True, True, True, False]]), window=6)
    assert not visible[0, :, 3].any()
    assert visible[0].any(1).all(), "each row sees something, so that no softmax is empty"


def test_additive():
    values = additive(torch.tensor([True, False]), torch.float32)
    assert values.tolist() == [0.0, -torch.inf] and values.dtype == torch.float32
