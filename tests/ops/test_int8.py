"""int8 products against a slow integer reference."""

import numpy as np
import pytest
import torch

from eat.ops import int8
from eat.ops.int8 import BITS, Int8Product, is_exact, quantized_rows, quantized_weight

SHAPES = [(1, 16, 32), (3, 48, 7), (33, 1536, 32), (130, 384, 2)]


def reference(rows, weight, bias, bits):
    """Quantise and multiply with NumPy's integers."""
    top = 2 ** (bits - 1) - 1
    step = np.abs(rows).max(1, keepdims=True) / np.float32(top) + np.float32(1e-30)
    scale = np.maximum(np.abs(weight).max(1) / np.float32(127), np.float32(1e-30))
    sums = np.rint(rows / step).astype(np.int64) @ np.rint(weight / scale[:, None]).astype(np.int64).T
    return sums.astype(np.float64) * scale * step + bias


def drawn(tokens, inputs, outputs):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in ((tokens, inputs), (outputs, inputs), (outputs,))]


@pytest.fixture(params=["onednn", "float32"])
def path(request, monkeypatch):
    if request.param == "float32":
        monkeypatch.setattr(int8, "is_exact", lambda bits: False)
    return request.param


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("tokens", "inputs", "outputs"), SHAPES)
def test_equals_integers(path, bits, tokens, inputs, outputs):
    rows, weight, bias = drawn(tokens, inputs, outputs)
    rows[0] = 0
    got = Int8Product(*quantized_weight(weight), bits)(rows, bias)
    expected = reference(rows.numpy(), weight.numpy(), bias.numpy(), bits)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("tokens", "inputs", "outputs"), SHAPES)
def test_a_row_depends_on_no_other(path, bits, tokens, inputs, outputs):
    rows, weight, bias = drawn(tokens, inputs, outputs)
    product = Int8Product(*quantized_weight(weight), bits)
    together = product(rows, bias)
    assert torch.equal(torch.cat([product(row, bias) for row in rows.split(1)]), together)
    rows[0] *= 20
    assert torch.equal(product(rows, bias)[1:], together[1:])


@pytest.mark.parametrize("bits", BITS)
def test_the_fast_and_the_slow_product_give_the_same_bits(monkeypatch, bits):
    if not is_exact(bits):
        pytest.skip(f"no exact product of {bits} bits on this processor")
    rows, weight, bias = drawn(40, 1536, 32)
    fast = Int8Product(*quantized_weight(weight), bits)(rows, bias)
    monkeypatch.setattr(int8, "is_exact", lambda bits: False)
    assert torch.equal(Int8Product(*quantized_weight(weight), bits)(rows, bias), fast)


def test_seven_bits_are_exact_wherever_there_is_a_product_for_x86():
    """What the fast path rests on in this version of torch; where it fails, models are slow but right."""
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        pytest.skip("another processor")
    assert is_exact(7)


def test_operators_with_other_arguments_are_not_used(monkeypatch):
    is_exact.cache_clear()
    try:
        monkeypatch.setattr(int8, "_onednn_product", lambda *_: torch.ones(1).reshape(7))
        assert not is_exact(8)
    finally:
        is_exact.cache_clear()


@pytest.mark.parametrize(("bits", "middle"), [(7, 64), (8, 128)])
def test_rows_are_bytes_around_a_middle(bits, middle):
    rows, step = quantized_rows(torch.tensor([[1.0, -1.0, 0.52, 0.0], [0.0, 0.0, 0.0, 0.0]]), bits)
    top = middle - 1
    assert rows.tolist() == [[middle + top, middle - top, middle + round(0.52 * top), middle], [middle] * 4]
    assert step[0].item() == pytest.approx(1 / top)


def test_an_arranged_weight_is_the_same_weight():
    rows, weight, bias = drawn(5, 64, 48)
    plain = Int8Product(*quantized_weight(weight), 7)(rows, bias)
    assert torch.equal(Int8Product(*quantized_weight(weight.t().contiguous().t()), 7)(rows, bias), plain)


def test_the_measured_gain_is_a_number_of_0_or_more():
    assert int8.INT8_GAIN.measure() >= 0
