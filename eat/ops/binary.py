"""Weights of one bit: their sign, with one scale for each output, and how they lie on disk."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor


class _ApproxSign(torch.autograd.Function):
    """Bi-Real Net's sign: the gradient is that of a piecewise quadratic function, not that of the step."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return torch.where(weight >= 0, 1.0, -1.0).to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (weight,) = ctx.saved_tensors
        return gradients[0] * (2 - 2 * weight.abs()).clamp(min=0)


def approx_sign(weight: Float[Tensor, " *shape"]) -> Float[Tensor, " *shape"]:
    """Return the sign, 1 for 0, with the gradient of its second-order approximation.

    F(w) = 2w - w^2 for 0 <= w < 1, 2w + w^2 for -1 <= w < 0, sign(w) beyond (ApproxSign of Bi-Real Net, Liu et al.
    2018, arXiv:1808.00278), so dF/dw = max(0, 2 - 2|w|): it depends on the magnitude, and is 0 beyond 1.
    """
    signs: Tensor = _ApproxSign.apply(weight)
    return signs


def binarized(weight: Float[Tensor, "outputs inputs"]) -> Float[Tensor, "outputs inputs"]:
    """Return alpha sign(w) with alpha = mean |w| of each output (XNOR-Net, Rastegari et al. 2016, arXiv:1603.05279).

    Gradients reach w through both.
    """
    return weight.abs().mean(1, keepdim=True) * approx_sign(weight)


def pack_signs(
    weight: Float[Tensor, "outputs inputs"],
) -> tuple[UInt8[Tensor, "outputs bytes"], Float[Tensor, " outputs"]]:
    """Return the signs of a binary weight, eight inputs a byte and the first in the highest bit, and its scales.

    Raises:
        ValueError: If the weights of an output differ in magnitude.
    """
    scale = weight[:, 0].abs()
    if not torch.equal(weight.abs(), scale.unsqueeze(1).expand_as(weight)):
        raise ValueError("expected weights of one magnitude in each output")
    return torch.from_numpy(np.packbits((weight >= 0).cpu().numpy(), axis=1)), scale.clone()


def unpack_signs(
    signs: UInt8[Tensor, "outputs bytes"], scale: Float[Tensor, " outputs"], inputs: int
) -> Float[Tensor, "outputs columns"]:
    """Return what `pack_signs` packed, in the type of the scales."""
    positive = torch.from_numpy(np.unpackbits(signs.cpu().numpy(), axis=1, count=inputs)).bool()
    scales = scale.unsqueeze(1)
    return torch.where(positive.to(scale.device), scales, -scales)
