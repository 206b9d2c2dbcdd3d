"""The table of `choose_path`, and that the parts follow it: no GPU is needed to choose."""

import pytest
import torch

from eat.attention.full import FullAttention
from eat.attention.paths import FLEX_FROM, Path, Support, choose_path, device_support
from eat.attention.windowed import WindowedAttention
from eat.packed import Packed
from tests.reference.flash import looped

ALL, NONE = Support(varlen=True, flex=True), Support(varlen=False, flex=False)


def chosen(support=ALL, **changes):
    case = {"dtype": torch.bfloat16, "head_dim": 64, "lengths": [30, 7], "windowed": False}
    return choose_path(support, **case | changes)


@pytest.mark.parametrize("windowed", [False, True])
def test_double_precision_groups(windowed):
    assert chosen(windowed=windowed, dtype=torch.float64) is Path.GROUPED


@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_cpu_groups(windowed, dtype):
    assert device_support(torch.device("cpu")) == NONE
    assert chosen(NONE, windowed=windowed, dtype=dtype, lengths=[900, 30]) is Path.GROUPED


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({}, Path.VARLEN),
        ({"dtype": torch.float16}, Path.VARLEN),
        ({"dtype": torch.float32}, Path.GROUPED),
        ({"lengths": [30, 30]}, Path.GROUPED),
        ({"lengths": [900]}, Path.GROUPED),
        ({"head_dim": 32}, Path.VARLEN),
        ({"head_dim": 20}, Path.GROUPED),
        ({"head_dim": 512}, Path.GROUPED),
        ({"support": Support(varlen=False, flex=True)}, Path.GROUPED),
    ],
)
def test_without_a_window(changes, path):
    assert chosen(**changes) is path


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({}, Path.FLEX),
        ({"dtype": torch.float32}, Path.FLEX),
        ({"lengths": [30, 30]}, Path.FLEX),
        ({"lengths": [FLEX_FROM]}, Path.FLEX),
        ({"lengths": [FLEX_FROM - 1]}, Path.GROUPED),
        ({"head_dim": 8}, Path.GROUPED),
        ({"support": Support(varlen=True, flex=False)}, Path.GROUPED),
    ],
)
def test_with_a_window(changes, path):
    assert chosen(windowed=True, **changes) is path


def packed(lengths):
    positions = torch.cat([torch.arange(length) for length in lengths])
    return Packed.start(
        torch.zeros(len(positions), 1), torch.full_like(positions, 9), positions, lengths, contiguous=True
    )


def assert_same_on(monkeypatch, attention, dtype, lengths, tolerance):
    """The part as if on a GPU equals itself on the CPU."""
    state = packed(lengths)
    qkv = torch.randn(len(state.positions), 3, 2, 16).to(dtype)
    expected, _ = attention(qkv, state, dropout=0.0, received=False)
    monkeypatch.setattr("eat.attention.grouped.device_support", lambda device: ALL)
    monkeypatch.setattr(attention, "_grouped", None)
    with torch.no_grad():
        mixed, received = attention(qkv, state.uncached(), dropout=0.0, received=False)
    assert received is None
    torch.testing.assert_close(mixed, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("attention", [FullAttention(), WindowedAttention(window=60)])
def test_short_sequences_take_the_flash_kernel(monkeypatch, attention):
    monkeypatch.setattr("eat.ops.varlen.varlen_attn", looped)
    assert_same_on(monkeypatch, attention, torch.bfloat16, [30, 7, 12], 0.02)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
def test_windows_take_flex_attention(monkeypatch):
    monkeypatch.setattr("eat.attention.grouped.compiled_flex", lambda: torch.nn.attention.flex_attention.flex_attention)
    assert_same_on(monkeypatch, WindowedAttention(window=16), torch.float32, [130, 7, 40], 1e-5)


@pytest.mark.parametrize("wish", [{"dropout": 0.5, "received": False}, {"dropout": 0.0, "received": True}])
def test_what_only_the_groups_can_do(monkeypatch, wish):
    monkeypatch.setattr("eat.attention.grouped.device_support", lambda device: ALL)
    monkeypatch.setattr("eat.attention.grouped.varlen_attention", None)
    state = packed([30, 7, 12])
    mixed, received = FullAttention()(torch.randn(49, 3, 2, 16, dtype=torch.bfloat16), state, **wish)
    assert mixed.shape == (49, 32)
    assert (received is not None) == wish["received"]
