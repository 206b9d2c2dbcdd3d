"""oneDNN's product says what torch's own says, forwards and backwards."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from eat.modules.linear import Linear
from eat.ops import linear as module
from eat.ops.linear import arranged, linear, padded

pytestmark = pytest.mark.skipif(module._ONEDNN is None, reason="this torch has no oneDNN")


def kernels_at(monkeypatch, multiplications):
    """Take oneDNN's product from so many multiplications on."""
    monkeypatch.setattr(module.ONEDNN_FROM, "value", lambda: multiplications)


@pytest.fixture(autouse=True)
def at_any_size(monkeypatch):
    kernels_at(monkeypatch, 0)


@pytest.fixture
def products(monkeypatch):
    """Count the products that go to oneDNN."""
    seen = []
    multiply = module._multiply
    monkeypatch.setattr(module, "_multiply", lambda *args: seen.append(1) or multiply(*args))
    return seen


def sample(rows=7, inputs=12, outputs=5, dtype=torch.float32, requires_grad=False):
    generator = torch.Generator().manual_seed(0)
    shapes = ((rows, inputs), (outputs, inputs), (outputs,))
    return tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(requires_grad)
        for shape in shapes
    )


@pytest.mark.parametrize("layout", [arranged, torch.Tensor.contiguous])
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_equals_torchs_own(rows, gelu, layout, products):
    x, weight, bias = sample(rows)
    expected = F.linear(x, weight, bias)
    actual = linear(x, layout(weight), bias, gelu=gelu)
    assert products
    torch.testing.assert_close(actual, F.gelu(expected) if gelu else expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("gelu", [False, True])
def test_gradients_equal_torchs_own_twice(gelu, products):
    gradients = []
    for product in (linear, lambda x, w, b, gelu: F.gelu(F.linear(x, w, b)) if gelu else F.linear(x, w, b)):
        inputs = sample(requires_grad=True)
        first = torch.autograd.grad(product(*inputs, gelu=gelu).pow(3).sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum(g.pow(2).sum() for g in first), inputs[:2])
        gradients.append([*first, *second])
    assert len(products) > 3
    for actual, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_no_gradient_where_none_is_wanted():
    x, weight, bias = sample(requires_grad=True)
    weight, bias = weight.detach(), bias.detach()
    linear(x, weight, bias).sum().backward()
    torch.testing.assert_close(x.grad, weight.sum(0).expand_as(x))


def test_gradient_has_the_layout_of_an_arranged_weight():
    layer = Linear(12, 5)
    layer.arrange()
    layer(sample()[0]).sum().backward()
    assert layer.weight.stride() == layer.weight.grad.stride() == (1, 5)


@pytest.mark.parametrize("case", ["float64", "switched off", "autocast", "small"])
def test_torchs_own_elsewhere(case, products, monkeypatch):
    x, weight, bias = sample(dtype=torch.float64 if case == "float64" else torch.float32)
    if case == "small":
        kernels_at(monkeypatch, 7 * 12 * 5 + 1)
    before = torch.backends.mkldnn.set_flags(case != "switched off")[0]
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
            actual = linear(x, weight, bias)
            assert torch.equal(actual, F.linear(x, weight, bias))
    finally:
        torch.backends.mkldnn.set_flags(before)
    assert not products
    assert actual.dtype is (torch.bfloat16 if case == "autocast" else x.dtype)


def test_arranged_keeps_values_and_shape():
    _, weight, _ = sample()
    moved = arranged(weight)
    assert torch.equal(moved, weight) and moved.stride() == (1, 5) and moved.t().is_contiguous()


def test_flops_are_counted():
    x, weight, bias = sample()
    with FlopCounterMode(display=False) as ours:
        linear(x, weight, bias)
    with FlopCounterMode(display=False) as theirs:
        F.linear(x, weight, bias)
    assert ours.get_total_flops() == theirs.get_total_flops() == 2 * 7 * 12 * 5


def test_training_has_few_shapes_of_products():
    sizes = {number: padded(number) for number in range(1, 5000)}
    assert all(number <= size < number + max(32, number / 15) for number, size in sizes.items())
    assert len(set(sizes.values())) < 90


def test_products_with_gradients_have_rows_to_spare_and_others_have_none(monkeypatch):
    seen = []
    multiply = module._multiply
    monkeypatch.setattr(
        module, "_multiply", lambda rows, *more: seen.append(tuple(rows.shape)) or multiply(rows, *more)
    )
    rows, weight, bias = sample(rows=33, inputs=8, requires_grad=True)
    product = linear(rows, weight, bias)
    assert product.shape == (33, 5) and seen == [(64, 8)]
    product.sum().backward()
    assert seen == [(64, 8), (64, 5), (8, 64)], "then the gradients of rows and of weight"
    seen.clear()
    with torch.no_grad():
        linear(rows, weight, bias)
    assert seen == [(33, 8)]
