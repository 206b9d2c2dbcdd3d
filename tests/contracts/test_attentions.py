"""What every attention part in the table promises."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eat.attention import ATTENTIONS, build_attention
from eat.packed import Packed

every_attention = pytest.mark.parametrize("name", sorted(ATTENTIONS))
HEADS, HEAD_DIM = 2, 4


def batch_of(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    positions = torch.cat([torch.arange(length) for length in lengths])
    rows = torch.zeros(total, 1, dtype=torch.float64)
    ids = torch.full((total,), 9)
    state = Packed.start(rows, ids, positions, lengths, contiguous=True)
    return torch.randn(total, 3, HEADS, HEAD_DIM, generator=generator, dtype=torch.float64), state


@every_attention
def test_cls_attends_to_all(name):
    assert "cls" in build_attention({"name": name}).global_tokens


@every_attention
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=5), seed=st.integers(0, 100))
def test_each_sequence_attends_alone(name, lengths, seed):
    attention = build_attention({"name": name})
    qkv, state = batch_of(lengths, seed)
    mixed, received = attention(qkv, state, dropout=0.0, received=True)
    assert mixed.shape == (sum(lengths), HEADS * HEAD_DIM) and received.shape == (sum(lengths),)
    for i, (part, expected, scores) in enumerate(
        zip(qkv.split(lengths), mixed.split(lengths), received.split(lengths), strict=True)
    ):
        alone = state.keep_sequences(torch.arange(len(lengths)) == i)
        one, one_received = attention(part, alone, dropout=0.0, received=True)
        torch.testing.assert_close(one, expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(one_received, scores, rtol=1e-10, atol=1e-10)


@every_attention
def test_received_on_demand_only(name):
    attention = build_attention({"name": name})
    qkv, state = batch_of([30, 7])
    mixed, received = attention(qkv, state, dropout=0.0, received=False)
    assert received is None
    again, received = attention(qkv, state, dropout=0.0, received=True)
    assert torch.equal(mixed, again), "asking for it changes nothing else"
    torch.testing.assert_close(received.sum(), torch.tensor(37.0, dtype=torch.float64))
    assert not received.requires_grad


@every_attention
def test_one_token_attends_to_itself(name):
    qkv, state = batch_of([1])
    mixed, received = build_attention({"name": name})(qkv, state, dropout=0.0, received=True)
    torch.testing.assert_close(mixed, qkv[:, 2].flatten(1))
    assert received.tolist() == [1.0]


@every_attention
def test_each_token_costs_at_least_one_pair(name):
    attention = build_attention({"name": name})
    assert attention.pairs(1, 1, 1) == 1
    assert all(attention.pairs(length, length, 1) >= length for length in range(1, 600, 7))
