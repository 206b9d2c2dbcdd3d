import numpy as np
import pytest
import torch

from eat.ops.binary import approx_sign, binarized, pack_signs, unpack_signs


def test_the_gradient_is_that_of_the_quadratic_pieces():
    weight = torch.linspace(-1.5, 1.5, 61, dtype=torch.float64)
    pieces = torch.where(weight >= 0, 2 * weight - weight**2, 2 * weight + weight**2)
    slow = weight.clone().requires_grad_()
    torch.where(
        slow.abs() < 1, torch.where(slow >= 0, 2 * slow - slow**2, 2 * slow + slow**2), pieces.sign()
    ).sum().backward()
    ours = weight.clone().requires_grad_()
    signs = approx_sign(ours)
    signs.sum().backward()
    assert torch.equal(signs.detach(), torch.where(weight >= 0, 1.0, -1.0).double())
    torch.testing.assert_close(ours.grad, slow.grad)
    assert ours.grad[30] == pytest.approx(2) and ours.grad[0] == 0


def test_a_binary_weight_has_the_mean_magnitude_of_its_output():
    weight = torch.tensor([[0.5, -1.5, 0.0], [-2.0, -4.0, 6.0]], requires_grad=True)
    out = binarized(weight)
    np.testing.assert_allclose(out.detach(), [[2 / 3, -2 / 3, 2 / 3], [-4, -4, 4]], rtol=1e-6)
    passed = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]])
    (out * passed).sum().backward()
    for row in range(2):
        alpha = weight[row].abs().mean().item()
        signs = np.where(weight[row].detach() >= 0, 1.0, -1.0)
        through_alpha = (passed[row].numpy() * signs).sum() / 3 * np.sign(weight[row].detach().numpy())
        through_sign = alpha * passed[row].numpy() * np.maximum(0, 2 - 2 * np.abs(weight[row].detach().numpy()))
        np.testing.assert_allclose(weight.grad[row], through_alpha + through_sign, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("inputs", [1, 7, 8, 9, 384])
def test_packed_bits_are_the_signs(inputs, dtype):
    weight = binarized(torch.randn(5, inputs, generator=torch.Generator().manual_seed(inputs))).to(dtype)
    signs, scale = pack_signs(weight)
    assert signs.dtype is torch.uint8 and signs.shape == (5, -(-inputs // 8)) and scale.dtype is dtype
    for row in range(5):
        for column in range(inputs):
            bit = signs[row, column // 8].item() >> (7 - column % 8) & 1
            assert bit == (weight[row, column] >= 0)
    assert torch.equal(unpack_signs(signs, scale, inputs), weight)


def test_an_output_of_zeros_stays_one():
    signs, scale = pack_signs(torch.tensor([[0.0, -0.0, 0.0]]))
    assert torch.equal(unpack_signs(signs, scale, 3), torch.zeros(1, 3))


def test_what_is_not_binary_is_refused():
    with pytest.raises(ValueError, match="one magnitude in each output"):
        pack_signs(torch.tensor([[1.0, -1.0], [1.0, 0.5]]))
