"""Multiply rows with a bfloat16 weight: products are summed in float32, and the answer is rounded to bfloat16.

With AMX, or AVX-512's own instructions for it, a processor multiplies several times as many numbers of 16 bits as of
32, and a weight of half the bytes comes from memory in half the time. A bfloat16 has float32's range and 8 bits of its
digits: it needs no scale, and errs ten times less than a byte.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import BFloat16, Float
from torch import Tensor

from eat.kernels import Measured
from eat.ops.linear import PACKS, WORTH, gain_over_float32, linear_packed, reordered


class Bf16Product:
    """Rows times one bfloat16 weight, which it holds as the processor's product reads it."""

    def __init__(self, weight: BFloat16[Tensor, "outputs inputs"]) -> None:
        self._weight = weight.contiguous()
        self._packed = reordered(self._weight) if is_fast() else None

    def __call__(
        self, rows: Float[Tensor, "tokens inputs"], bias: BFloat16[Tensor, " outputs"], *, gelu: bool = False
    ) -> BFloat16[Tensor, "tokens outputs"]:
        """Return rows @ weight^T + bias, or the exact GELU of it; other rows than bfloat16 ones are rounded first."""
        rows = rows.to(torch.bfloat16)
        if self._packed is not None:
            return linear_packed(rows, self._packed, bias, gelu=gelu)
        product = F.linear(rows, self._weight, bias)
        return F.gelu(product) if gelu else product


@cache
def is_fast() -> bool:
    """Whether oneDNN multiplies bfloat16 on this processor; elsewhere torch does, correctly and slowly."""
    # Private to torch, so looked for instead of relied upon.
    supported: Callable[[], bool] | None = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return PACKS and supported is not None and supported()


def _measure_gain() -> float:
    def product(weight: Tensor) -> Callable[[Tensor, Tensor], Any]:
        multiply = Bf16Product(weight.to(torch.bfloat16))
        return lambda rows, bias: multiply(rows, bias.to(torch.bfloat16)).float()

    return gain_over_float32(product) if is_fast() else 0.0


BF16_GAIN = Measured(
    "bf16_gain",
    default=1.0,
    measure=_measure_gain,
    meaning=f"how many times faster a dense layer is in bfloat16 than in float32; {WORTH:g} or more, and models get it",
)
