"""Dropout drops as much as asked and scales the rest; attention in parts is attention with dropout, at less memory."""

import math

import pytest
import torch
import torch.nn.functional as F

from eat.ops import dropout as ops
from eat.ops.attention import additive, attend
from eat.ops.dropout import dropped, dropped_attention

SHAPE = (3, 4, 7, 9)  # batch, heads, queries, head_dim
KEYS = 9  # as many as a head is wide: values may be one-hot


def projections(dtype=torch.float64, *, seed=0):
    drawn = torch.Generator().manual_seed(seed)
    shapes = (SHAPE, (*SHAPE[:2], KEYS, SHAPE[3]), (*SHAPE[:2], KEYS, SHAPE[3]))
    return [torch.randn(shape, generator=drawn, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


def masks():
    visible = torch.rand(SHAPE[0], 1, 1, KEYS, generator=torch.Generator().manual_seed(1)) < 0.7
    visible[..., 0] = True
    pairs = torch.rand(SHAPE[0], 1, SHAPE[2], KEYS, generator=torch.Generator().manual_seed(2)) < 0.7
    return [None, additive(visible, torch.float64), additive(pairs | visible[..., :1], torch.float64)]


def weights_of(q, k, mask, dropout, *, seed):
    """Read the weights, dropout included, off the answers to one-hot values."""
    one_hot = torch.eye(KEYS, dtype=q.dtype).expand(*SHAPE[:2], KEYS, KEYS)
    torch.manual_seed(seed)
    return dropped_attention(q, k, one_hot, mask, dropout)


def assert_same_gradients(own, other, inputs):
    weight = torch.randn_like(own)
    got, right = (torch.autograd.grad((out * weight).sum(), inputs) for out in (own, other))
    torch.testing.assert_close(got, right)


@pytest.fixture(params=[2**18, 130, 1], ids=["whole", "some heads", "one head"])
def at_once(request, monkeypatch):
    monkeypatch.setattr(ops, "SCORES_AT_ONCE", request.param)
    monkeypatch.setattr("eat.ops.attention.SCORES_AT_ONCE", 0)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("mask", masks(), ids=["all", "padding", "pairs"])
def test_without_dropout_it_is_torchs_attention_and_its_gradient(mask):
    q, k, v = projections()
    own, torchs = dropped_attention(q, k, v, mask, 0.0), F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(own, torchs)
    assert_same_gradients(own, torchs, (q, k, v))


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("mask", masks(), ids=["all", "padding", "pairs"])
def test_with_dropout_answer_and_gradient_are_those_of_the_weights_that_are_left(mask):
    q, k, v = projections()
    dropout = 0.25
    left = weights_of(q, k, mask, dropout, seed=7).detach()
    scores = q @ k.transpose(2, 3) / math.sqrt(SHAPE[3])
    weights = torch.softmax(scores if mask is None else scores + mask, -1)
    kept = (left != 0) / (1 - dropout)
    torch.testing.assert_close(left, (weights * kept).detach())
    torch.manual_seed(7)
    own, plain = dropped_attention(q, k, v, mask, dropout), (weights * kept) @ v
    torch.testing.assert_close(own, plain)
    assert_same_gradients(own, plain, (q, k, v))


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_as_many_weights_are_dropped_as_asked_each_on_its_own(dropout):
    q, k, _ = projections()
    dropped = torch.stack([weights_of(q, k, None, dropout, seed=seed) == 0 for seed in range(300)]).double()
    one = math.sqrt(dropout * (1 - dropout) / 300)
    assert abs(dropped.mean() - dropout) < 5 * one / math.sqrt(dropped[0].numel())
    assert (dropped.mean(0) - dropout).abs().max() < 5 * one  # every weight
    centred = (dropped - dropped.mean(0)).flatten(1)
    together = (centred.T @ centred / 300).fill_diagonal_(0) / (dropout * (1 - dropout))
    assert together.abs().max() < 7 / math.sqrt(300)  # no two are dropped together


def test_the_seed_is_torchs_and_each_call_draws_another():
    q, k, _ = projections()
    first = weights_of(q, k, None, 0.5, seed=3)
    torch.testing.assert_close(weights_of(q, k, None, 0.5, seed=3), first)
    one_hot = torch.eye(KEYS, dtype=q.dtype).expand(*SHAPE[:2], KEYS, KEYS)
    second = dropped_attention(q, k, one_hot, None, 0.5)
    assert ((second == 0) != (first == 0)).double().mean() > 0.3


def test_bfloat16_scores_are_summed_in_float32():
    exact = projections()
    q, k, v = (one.detach().bfloat16() for one in exact)
    torch.manual_seed(5)
    low = dropped_attention(q, k, v, None, 0.1)
    torch.manual_seed(5)
    high = dropped_attention(q.double(), k.double(), v.double(), None, 0.1)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.double(), high, atol=0.02, rtol=0.02)


@pytest.mark.usefixtures("at_once")
def test_training_attention_takes_it_and_inference_and_learned_biases_do_not(monkeypatch):
    q, k, v = projections(torch.float32)
    called = []
    monkeypatch.setattr("eat.ops.attention.dropped_attention", lambda *a: called.append(a) or dropped_attention(*a))
    assert attend(q, k, v, None, 0.1).shape == (SHAPE[0], SHAPE[2], SHAPE[1], SHAPE[3])
    assert len(called) == 1
    bias = torch.zeros(1, SHAPE[1], SHAPE[2], KEYS, requires_grad=True)
    attend(q, k, v, bias, 0.1).sum().backward()
    attend(q, k, v, None, 0.0)
    assert len(called) == 1
    assert bias.grad is not None


def test_what_is_kept_for_the_gradient_grows_with_the_tokens():
    kept = []
    q, k, v = (torch.randn(2, 12, 256, 8, requires_grad=True) for _ in range(3))
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one.numel()) or one, lambda one: one):
        attend(q, k, v, None, 0.1).sum()
    assert sum(kept) <= 5 * q.numel()


@pytest.mark.parametrize("dropout", [0.1, 0.5])
def test_as_many_values_are_dropped_as_asked_each_on_its_own_and_the_others_make_up_for_them(dropout):
    torch.manual_seed(0)
    number = 1_000_001  # no multiple of the four values that a draw decides about
    kept = dropped(torch.ones(number, dtype=torch.float64), dropout) > 0
    spread = math.sqrt(dropout * (1 - dropout) / number)
    assert abs(kept.double().mean().item() - (1 - dropout)) < 5 * spread
    for lag in (1, 2, 3, 4):
        both = (kept[lag:] & kept[:-lag]).double().mean().item()
        assert abs(both - (1 - dropout) ** 2) < 10 * spread
    rows = torch.randn(37, 5, dtype=torch.float64)
    left = dropped(rows, dropout)
    torch.testing.assert_close(left[left != 0], rows[left != 0] / (1 - dropout), rtol=2**-15, atol=0)


def test_the_gradient_reaches_what_is_kept_and_a_seed_repeats_the_draw():
    rows = torch.randn(37, 5, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(3)
    left = dropped(rows, 0.5)
    (gradient,) = torch.autograd.grad(left.sum(), rows)
    torch.testing.assert_close(gradient, torch.where(left == 0, 0.0, 2.0).double())
    torch.manual_seed(3)
    assert torch.equal(dropped(rows, 0.5), left)
    assert not torch.equal(dropped(rows, 0.5), left)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_keeps_the_dtype_and_none_keeps_the_values(dtype):
    rows = torch.randn(9, 3, dtype=dtype)
    assert dropped(rows, 0.3).dtype == dtype
    assert torch.equal(dropped(rows, 0.0), rows)
    assert dropped(rows, 1 - 1e-9).isfinite().all()
