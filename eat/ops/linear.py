"""Multiply rows with a weight: by torch's own matrix product, or oneDNN's where that is faster.

On CPU torch multiplies float32 matrices with MKL, which leaves AVX-512 unused on processors that are not Intel's and
rearranges the weight at every call. oneDNN, which torch carries as well, does neither, but its call costs more. With
the MiniLM shape it is twice as fast on AMD EPYC with AVX-512, and a fifth slower on AMD without: hence it is measured
from which size it wins, see `eat.kernels`. ``torch.backends.mkldnn.set_flags(False)`` gives torch's own product
everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from eat.kernels import Measured, fastest

# Private to torch (its compiler emits it), so looked for instead of relied upon.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
_REORDER = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
_PACKED_FOR = 32  # rows that the order is chosen for; one for a single row is slower with more
PACKS = _ONEDNN is not None and _REORDER is not None
"""Whether this torch has oneDNN's own order of weights."""

_WIDTH, _WEIGHTS = 384, 8  # of the matrices that are measured, each read cold as a model's are
_ROWS = (1, 2, 4, 16, 64, 256)
_STEP = 32  # rows
_INNER = 1536  # outputs of the wide product in which other numbers are compared with float32
WORTH = 1.1
"""The gain from which other numbers than float32 are worth what they cost in accuracy."""
_MARGIN = 0.97  # what is faster by less than this is noise


def _measure_onednn_from() -> float:
    """Find the fewest multiplications from which oneDNN wins at all larger sizes; infinity where it does not."""
    if _ONEDNN is None or torch.backends.mkldnn.enabled is not True:  # type: ignore[comparison-overlap]
        return float("inf")
    weights = [arranged(torch.full((_WIDTH, _WIDTH), 0.01)) for _ in range(_WEIGHTS)]
    bias = torch.zeros(_WIDTH)
    found = float("inf")
    for number in reversed(_ROWS):
        rows = torch.full((number, _WIDTH), 0.5)
        times = fastest(
            {
                "torch": lambda rows=rows: [F.linear(rows, weight, bias) for weight in weights],
                "onednn": lambda rows=rows: [_multiply(rows, weight, bias) for weight in weights],
            }
        )
        if times["onednn"] > _MARGIN * times["torch"]:
            break
        found = float(number * _WIDTH**2)
    return 0.0 if found == _ROWS[0] * _WIDTH**2 else found


ONEDNN_FROM = Measured(
    "onednn_from",
    default=600_000.0,
    measure=_measure_onednn_from,
    meaning="multiplications (rows x inputs x outputs) from which oneDNN's product is taken instead of torch's",
)


def linear(
    rows: Float[Tensor, "tokens inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None,
    *,
    gelu: bool = False,
) -> Float[Tensor, "tokens outputs"]:
    """Return rows @ weight^T + bias, or the exact GELU of it; differentiable any number of times."""
    onednn = _takes_onednn(rows, weight)
    if onednn and not (torch.is_grad_enabled() and (rows.requires_grad or weight.requires_grad)):
        return _multiply(rows, weight, bias, "gelu" if gelu else "none")
    if onednn:
        number = rows.shape[0]
        product: Tensor = _Product.apply(F.pad(rows, (0, 0, 0, padded(number) - number)), weight, bias)[:number]
    else:
        product = F.linear(rows, weight, bias)
    return F.gelu(product) if gelu else product


def padded(number: int) -> int:
    """Return how many rows a product has in training, where every batch has another number of them.

    oneDNN keeps code for each of the last 1,024 shapes, which takes time to make, and memory. With at most 16 numbers
    of rows between one power of two and the next, all shapes are soon known.
    """
    step = max(_STEP, 1 << max(number.bit_length() - 5, 0))
    return -(-number // step) * step


def arranged(weight: Float[Tensor, "outputs inputs"]) -> Float[Tensor, "outputs inputs"]:
    """Return the same matrix with its columns contiguous in memory, as oneDNN reads it without rearranging it."""
    return weight.t().contiguous().t()


def packed(weight: Float[Tensor, "outputs inputs"]) -> Tensor | None:
    """Return a weight in oneDNN's own order, for `linear_packed`; None where there is none for it.

    It is a copy: what becomes of the weight afterwards does not reach it.
    """
    return reordered(weight) if PACKS and weight.is_cpu and weight.dtype is torch.float32 else None


def reordered(weight: Float[Tensor, "outputs inputs"]) -> Tensor:
    """Return a copy of a weight in oneDNN's own order, where there is one (`PACKS`) and it multiplies this type."""
    assert _REORDER is not None
    result: Tensor = _REORDER(weight.detach(), _PACKED_FOR)
    return result


def linear_packed(
    rows: Float[Tensor, "tokens inputs"], weight: Tensor, bias: Float[Tensor, " outputs"] | None, *, gelu: bool = False
) -> Float[Tensor, "tokens outputs"]:
    """Return rows @ weight^T + bias, or the exact GELU of it, for a packed weight; without gradients."""
    return _multiply(rows, weight, bias, "gelu" if gelu else "none")


def gain_over_float32(product: Callable[[Tensor], Callable[[Tensor, Tensor], Any]]) -> float:
    """Return how many times faster than `linear` another product is, at the size where it gains least.

    Args:
        product: Takes a float32 weight and returns what multiplies float32 rows with it and adds a bias.
    """
    weights, bias = [torch.full((_INNER, _WIDTH), 0.01) for _ in range(4)], torch.zeros(_INNER)
    plain, others = [arranged(weight) for weight in weights], [product(weight) for weight in weights]

    def in_float32(rows: Tensor) -> None:
        for weight in plain:
            linear(rows, weight, bias)

    def in_others(rows: Tensor) -> None:
        for multiply in others:
            multiply(rows, bias)

    found = []
    for tokens in (25, 100):
        rows = torch.full((tokens, _WIDTH), 0.5)
        times = fastest({"float32": partial(in_float32, rows), "other": partial(in_others, rows)}, rounds=40)
        found.append(times["float32"] / times["other"])
    return min(found)


class _Product(torch.autograd.Function):
    """rows @ weight^T + bias; its gradients are two more such products."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return _multiply(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        gradient = gradients[0]
        wanted = ctx.needs_input_grad
        return (
            _Product.apply(gradient, weight.t(), None) if wanted[0] else None,
            # In this order the gradient has the layout of an arranged weight.
            _Product.apply(rows.t(), gradient.t(), None).t() if wanted[1] else None,
            gradient.sum(0) if wanted[2] else None,
        )


def _takes_onednn(rows: Tensor, weight: Tensor) -> bool:
    return (
        _ONEDNN is not None
        and rows.is_cpu
        and rows.dtype is torch.float32
        and weight.dtype is torch.float32
        and torch.backends.mkldnn.enabled is True  # type: ignore[comparison-overlap]
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and rows.shape[0] * weight.numel() >= ONEDNN_FROM.value()  # last, since the first time it is measured
    )


def _multiply(rows: Tensor, weight: Tensor, bias: Tensor | None, then: str = "none") -> Tensor:
    assert _ONEDNN is not None
    return _ONEDNN(rows, weight, bias, then, [], "none")


if _ONEDNN is not None:

    @register_flop_formula(_ONEDNN)
    def _flops(rows: torch.Size, weight: torch.Size, *_: Any, out_shape: torch.Size, **__: Any) -> int:
        return 2 * rows[0] * rows[1] * out_shape[1]
