"""Invariant 6: windowed attention is dense attention under the same mask, in blocks or not, and costs O(T)."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from eat.attention.full import FullAttention
from eat.attention.windowed import BLOCKED_FROM, WindowedAttention
from eat.packed import Packed
from tests.reference.unchecked import unchecked

HEADS, HEAD_DIM = 2, 4
SEP = 4


def packed(lengths, *, holes=0.0, sep=False, seed=0, dtype=torch.float64):
    """A batch in which a share of the tokens other than the first has been pruned away."""
    generator = torch.Generator().manual_seed(seed)
    positions, ids, host_lengths = [], [], []
    for length in lengths:
        stays = torch.rand(length, generator=generator) >= holes
        stays[0] = True
        columns = stays.nonzero()[:, 0]
        tokens = torch.full((len(columns),), 9)
        if sep:
            tokens[len(columns) // 2] = tokens[-1] = SEP
        positions.append(columns)
        ids.append(tokens)
        host_lengths.append(len(columns))
    rows = torch.zeros(sum(host_lengths), 1, dtype=dtype)
    return Packed.start(
        rows,
        torch.cat(ids),
        torch.cat(positions),
        host_lengths,
        contiguous=not holes,
        protected_id=SEP if sep else None,
    )


def random_qkv(state, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shape = (state.rows.shape[0], 3, HEADS, HEAD_DIM)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def dense(qkv, state, window):
    """One sequence at a time, a T x T mask by two loops' worth of broadcasting, and softmax by hand."""
    mixed, received = [], []
    start = 0
    for length in state.host_lengths:
        part = slice(start, start + length)
        q, k, v = qkv[part].transpose(0, 2).unbind(1)  # (heads, length, head_dim)
        position, is_global = state.positions[part], state.protected[part]
        visible = (position[:, None] - position[None]).abs() <= window // 2
        visible = visible | is_global[None] | is_global[:, None]
        scores = (q @ k.transpose(1, 2)) / HEAD_DIM**0.5
        weights = torch.exp(scores) * visible
        weights = weights / weights.sum(-1, keepdim=True)
        mixed.append((weights @ v).transpose(0, 1).reshape(length, -1))
        received.append(weights.mean(0).sum(0))
        start += length
    return torch.cat(mixed), torch.cat(received)


def assert_equals_dense(state, window):
    qkv = random_qkv(state)
    attention = WindowedAttention(window=window)
    mixed, received = attention(qkv, state, dropout=0.0, received=True)
    expected, expected_received = dense(qkv, state, window)
    torch.testing.assert_close(mixed, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(received, expected_received, rtol=1e-10, atol=1e-10)


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    half=st.integers(1, 12),
    holes=st.sampled_from([0.0, 0.3, 0.7]),
    sep=st.booleans(),
    seed=st.integers(0, 100),
)
def test_short_sequences(lengths, half, holes, sep, seed):
    assert_equals_dense(packed(lengths, holes=holes, sep=sep, seed=seed), 2 * half)


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=4),
    half=st.integers(1, 80),
    holes=st.sampled_from([0.0, 0.3, 0.7]),
    sep=st.booleans(),
    seed=st.integers(0, 100),
)
def test_blocks_at_any_length(lengths, half, holes, sep, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eat.attention.windowed.BLOCKED_FROM", 1)
        assert_equals_dense(packed(lengths, holes=holes, sep=sep, seed=seed), 2 * half)


@pytest.mark.parametrize("window", [2, 32, 200])
@pytest.mark.parametrize("length", [BLOCKED_FROM - 1, BLOCKED_FROM, BLOCKED_FROM + 1, 4 * 64 - 1, 4 * 64, 4 * 64 + 1])
def test_around_the_switch_to_blocks(length, window):
    assert_equals_dense(packed([length, 3, length, length + 2]), window)


@pytest.mark.parametrize("sep", [False, True])
def test_around_the_switch_with_pruned_tokens(sep):
    state = packed([BLOCKED_FROM + 100] * 3 + [600], holes=0.4, sep=sep)
    assert min(state.host_lengths) < BLOCKED_FROM < max(state.host_lengths)
    assert_equals_dense(state, 16)


@pytest.mark.parametrize("length", [30, BLOCKED_FROM + 20])
@pytest.mark.parametrize("sep", [False, True])
def test_gradients(length, sep):
    state = packed([length, 7, length - 5], holes=0.2, sep=sep)
    gradients = []
    for run in (WindowedAttention(window=8), lambda q, s, **_: dense(q, s, 8)):
        qkv = random_qkv(state).requires_grad_()
        mixed, _ = run(qkv, state, dropout=0.0, received=False)
        mixed.square().sum().backward()
        gradients.append(qkv.grad)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_float32_is_close():
    state = packed([250, 30], holes=0.1, dtype=torch.float32)
    qkv = random_qkv(state, dtype=torch.float32)
    mixed, _ = WindowedAttention(window=16)(qkv, state, dropout=0.0, received=False)
    torch.testing.assert_close(mixed, dense(qkv.double(), state, 16)[0].float(), rtol=0, atol=1e-5)


def test_a_window_that_covers_everything_is_full_attention():
    state = packed([20, 5, 11], holes=0.2)
    qkv = random_qkv(state)
    full, full_received = FullAttention()(qkv, state, dropout=0.0, received=True)
    windowed, received = WindowedAttention(window=40)(qkv, state, dropout=0.0, received=True)
    torch.testing.assert_close(windowed, full)
    torch.testing.assert_close(received, full_received)
    torch.testing.assert_close(full_received, dense(qkv, state, 40)[1])


def test_distance_is_between_original_positions():
    """Tokens 1 and 9 become neighbours when those between leave, but they do not start to see each other."""
    state = packed([10]).keep_tokens(torch.tensor([True, True] + [False] * 7 + [True]))
    qkv = random_qkv(state)
    before, _ = WindowedAttention(window=4)(qkv, state, dropout=0.0, received=False)
    qkv[2, 1:] += 5.0  # key and value of token 9
    after, _ = WindowedAttention(window=4)(qkv, state, dropout=0.0, received=False)
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[0], after[0]), "[CLS] sees all"


def test_received_sums_to_the_number_of_queries():
    state = packed([250, 30, 12], holes=0.2, sep=True)
    _, received = WindowedAttention(window=16)(random_qkv(state), state, dropout=0.0, received=True)
    sums = torch.zeros(3, dtype=torch.float64).index_add_(0, state.sequence, received)
    torch.testing.assert_close(sums, torch.tensor(state.host_lengths, dtype=torch.float64))


def test_dropout_drops_in_training_only():
    state = packed([250])
    qkv = random_qkv(state)
    attention = WindowedAttention(window=16)
    with_dropout, _ = attention(qkv, state, dropout=0.5, received=False)
    without, _ = attention(qkv, state, dropout=0.0, received=False)
    assert not torch.allclose(with_dropout, without)


def counted(length, window, num_layers=1):
    state = packed([length])
    qkv = random_qkv(state)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        WindowedAttention(window=window)(qkv, state, dropout=0.0, received=False)
    return counter.get_total_flops()


def test_cost_grows_linearly_with_length():
    flops = [counted(length, 32) for length in (512, 1024, 2048, 4096)]
    growth = [after / before for before, after in pairwise(flops)]
    assert all(ratio == pytest.approx(2.0, rel=0.05) for ratio in growth)
    full = 4 * 4096**2 * HEADS * HEAD_DIM
    assert flops[-1] < 0.06 * full


class LargestTensor(TorchDispatchMode):
    """Remembers the elements of the largest tensor that any operation made."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return made


def test_memory_grows_linearly_with_length():
    largest = []
    for length in (1024, 2048, 4096):
        state = packed([length])
        qkv = random_qkv(state)
        with sdpa_kernel(SDPBackend.MATH), LargestTensor() as seen:
            WindowedAttention(window=32)(qkv, state, dropout=0.0, received=True)
        largest.append(seen.elements)
    assert all(after / before == pytest.approx(2.0, rel=0.05) for before, after in pairwise(largest))
    assert largest[-1] < 0.1 * HEADS * 4096**2


@given(length=st.integers(1, 700), half=st.integers(1, 60))
def test_pairs_are_the_flops(length, half):
    pairs = WindowedAttention(window=2 * half).pairs(length, length, 1)
    assert counted(length, 2 * half) == 4 * HEADS * HEAD_DIM * pairs


@pytest.mark.parametrize("window", [0, 1, 3, -2, 2.0, "4", True, None])
def test_window_must_be_even_and_positive(window):
    with pytest.raises(ValueError, match=r"attention\.window: expected an even integer of 2 or more, got"):
        unchecked(WindowedAttention, window=window)


@pytest.mark.parametrize("tokens", ["cls", [], ["sep"], ["cls", "mask"]])
def test_global_tokens_are_cls_and_optionally_sep(tokens):
    with pytest.raises(ValueError, match=r"attention\.global_tokens: expected"):
        WindowedAttention(global_tokens=tokens)
