import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eat.ops.importance import hashed, l2_norm
from tests.reference.masked import hash_score


def test_l2_norm_by_hand():
    assert l2_norm(torch.tensor([[3.0, 4.0], [0.0, 0.0], [-5.0, 12.0]])).tolist() == [5.0, 0.0, 13.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_l2_norm_of_half_precision_is_float32(dtype):
    """In float16 the squares of 300 would overflow."""
    norm = l2_norm(torch.full((1, 4), 300.0, dtype=dtype))
    assert norm.dtype == torch.float32 and norm.item() == 600.0


@given(
    position=st.integers(0, 10**6),
    token_id=st.integers(0, 10**6),
    depth=st.integers(1, 48),
    seed=st.integers(-(2**40), 2**40),
)
def test_hash_is_splitmix(position, token_id, depth, seed):
    score = hashed(torch.tensor([position]), torch.tensor([token_id]), depth=depth, seed=seed)
    assert score.item() == hash_score(seed, depth, position, token_id)


def test_hash_is_roughly_uniform():
    positions = torch.arange(20_000)
    scores = hashed(positions, positions % 7, depth=2, seed=0)
    assert scores.dtype == torch.float64
    assert scores.min() >= 0 and scores.max() < 1
    counts = torch.histc(scores.float(), bins=20, min=0, max=1)
    expected = 1000
    assert float(((counts - expected) ** 2 / expected).sum()) < 45  # chi-square, 19 degrees of freedom, p < 0.001


@pytest.mark.parametrize("change", [{"seed": 1}, {"depth": 3}, {"positions": 1}, {"token_ids": 1}])
def test_hash_depends_on_each_of_its_inputs(change):
    positions, ids = torch.arange(1000), torch.arange(1000).flip(0)
    before = hashed(positions, ids, depth=2, seed=0)
    after = hashed(
        positions + change.get("positions", 0),
        ids + change.get("token_ids", 0),
        depth=change.get("depth", 2),
        seed=change.get("seed", 0),
    )
    assert abs(float(torch.corrcoef(torch.stack((before, after)))[0, 1])) < 0.1
