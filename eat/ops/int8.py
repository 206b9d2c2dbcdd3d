"""Multiply rows with an int8 weight: one scale for each output channel, one for each row, integers in between.

A row is quantised by its own largest value, so its answer depends on no other row; the integer sums are exact, so it
does not depend on how the rows are blocked either. Quantised rows are bytes around a middle, as the instructions of x86
take them: 8 bits where the processor adds products of bytes without saturation (VNNI), else 7, where pairs of products
still fit into the 16 bits that they are added in.

oneDNN's operators are private to torch, so they are looked for, tried on the largest values that there are, and taken
only where every sum is exact; else the same integers are multiplied in float32, which is correct and slow.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int8, UInt8
from torch import Tensor

from eat.checks import shown
from eat.kernels import Measured
from eat.ops.linear import WORTH, gain_over_float32
from eat.ops.precision import at_least_float32

BITS = (7, 8)
"""How many bits a quantised row may have."""

_ONEDNN = torch.ops.onednn
_NEXT_TO_NOTHING = 1e-30  # keeps the step of a row of zeros above 0
# Rows of another width end in single numbers, which torch may multiply and add with one rounding less or more.
_LANES = 16
_EXACT_IN_FLOAT32 = 1024  # products of bytes whose sum float32 holds exactly: 1024 * 127 * 127 < 2^24


def checked_bits(name: str, bits: Any) -> int:
    """Return how many bits a quantised row has, one of `BITS`; True is none."""
    if isinstance(bits, bool) or not isinstance(bits, int) or bits not in BITS:
        raise ValueError(f"{name}: expected {' or '.join(map(str, BITS))}, got {shown(bits)}")
    return bits


def largest(bits: int) -> int:
    """Return the largest magnitude of a quantised value, 127 or 63."""
    return int(2 ** (bits - 1)) - 1


def quantized_weight(
    weight: Float[Tensor, "outputs inputs"],
) -> tuple[Int8[Tensor, "outputs inputs"], Float[Tensor, " outputs"]]:
    """Return integers in [-127, 127] and the scale of each output channel; also for the rows of an embedding table."""
    scale = weight.abs().amax(1).div(127).clamp_min(_NEXT_TO_NOTHING)
    # Contiguous: oneDNN takes an arranged weight for its transpose.
    return weight.div(scale.unsqueeze(1)).round().to(torch.int8).contiguous(), scale


def quantized_rows(
    rows: Float[Tensor, "tokens inputs"], bits: int
) -> tuple[UInt8[Tensor, "tokens inputs"], Float[Tensor, "tokens 1"]]:
    """Return each row as bytes around 2^(bits - 1), and its step: the value of one unit."""
    top = largest(bits)
    step = rows.abs().amax(1, keepdim=True).div_(top).add_(_NEXT_TO_NOTHING)
    # By way of int8: torch converts to it five times faster than to uint8, and adding to bytes wraps around.
    return rows.div(step).round_().to(torch.int8).view(torch.uint8).add_(top + 1), step


def fake_quantized_weight(weight: Float[Tensor, "outputs inputs"]) -> Float[Tensor, "outputs inputs"]:
    """Return what `quantized_weight` keeps of a weight; the gradient passes the rounding by (Bengio et al. 2013)."""
    integers, scale = quantized_weight(weight.detach())
    return weight + (integers * scale.unsqueeze(1) - weight.detach())


def fake_quantized_rows(rows: Float[Tensor, "tokens inputs"], bits: int) -> Float[Tensor, "tokens inputs"]:
    """Return what `quantized_rows` keeps of rows; the gradient passes the rounding by."""
    rows = at_least_float32(rows)
    quantized, step = quantized_rows(rows.detach(), bits)
    return rows + ((quantized.to(rows.dtype) - (largest(bits) + 1)) * step - rows.detach())


class Int8Product:
    """Rows times one int8 weight, which it holds as the processor's product reads it."""

    def __init__(self, weight: Int8[Tensor, "outputs inputs"], scale: Float[Tensor, " outputs"], bits: int) -> None:
        self.scale, self.bits = scale, bits
        self._zeros = torch.zeros(weight.shape[0], dtype=torch.int64)
        self._weight = weight.contiguous()
        self._packed = _ONEDNN.qlinear_prepack(self._weight, [32, weight.shape[1]]) if is_exact(bits) else None

    def __call__(
        self, rows: Float[Tensor, "tokens inputs"], bias: Float[Tensor, " outputs"]
    ) -> Float[Tensor, "tokens outputs"]:
        """Return rows @ weight^T + bias, with quantised rows."""
        quantized, step = quantized_rows(rows, self.bits)
        middle = largest(self.bits) + 1
        if self._packed is None:
            product = _integer_product(quantized, self._weight, middle).float() * self.scale
        else:
            product = _onednn_product(quantized, self._packed, self.scale, self._zeros, middle)
        if product.shape[1] % _LANES:
            return product.mul_(step).add_(bias)
        return torch.addcmul(bias, product, step)


@cache
def is_exact(bits: int) -> bool:
    """Try oneDNN's product on the largest values: whether every sum is exact."""
    if not (hasattr(_ONEDNN, "qlinear_prepack") and hasattr(_ONEDNN, "qlinear_pointwise")):
        return False
    weight = torch.full((32, 256), 127, dtype=torch.int8)
    weight[::2] = -127
    ones, zeros = torch.ones(32), torch.zeros(32, dtype=torch.int64)
    try:
        packed = _ONEDNN.qlinear_prepack(weight, [32, 256])
        for tokens in (1, 32):
            for value in (1, 2 * largest(bits) + 1):
                rows = torch.full((tokens, 256), value, dtype=torch.uint8)
                got = _onednn_product(rows, packed, ones, zeros, largest(bits) + 1)
                if not torch.equal(got, _integer_product(rows, weight, largest(bits) + 1).float()):
                    return False
    except (RuntimeError, TypeError):  # other arguments in this torch, or none for this processor
        return False
    return True


def best_bits() -> int:
    """Return how many bits rows should have on this processor."""
    return 8 if is_exact(8) else 7


def _onednn_product(rows: Tensor, packed: Tensor, scale: Tensor, zeros: Tensor, middle: int) -> Tensor:
    operator: Any = _ONEDNN.qlinear_pointwise.default
    return operator(rows, 1.0, middle, packed, scale, zeros, None, 1.0, 0, torch.float32, "none", [], "")


def _integer_product(rows: Tensor, weight: Tensor, middle: int) -> Tensor:
    """Return the exact sums, in pieces that float32 holds exactly; torch's own integer product is 20 times slower."""
    total = torch.zeros(rows.shape[0], weight.shape[0], dtype=torch.int32)
    for start in range(0, weight.shape[1], _EXACT_IN_FLOAT32):
        part = slice(start, start + _EXACT_IN_FLOAT32)
        total += F.linear(rows[:, part].float() - middle, weight[:, part].float()).to(torch.int32)
    return total


def _measure_gain() -> float:
    bits = best_bits()
    return gain_over_float32(lambda weight: Int8Product(*quantized_weight(weight), bits)) if is_exact(bits) else 0.0


INT8_GAIN = Measured(
    "int8_gain",
    default=1.0,
    measure=_measure_gain,
    meaning=f"how many times faster a dense layer is in int8 than in float32; {WORTH:g} or more, and models get it",
)
