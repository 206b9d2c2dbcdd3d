"""Turn a model into one for inference on a CPU: with int8 weights, or with packed float32 ones."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from eat.modules.block import Block
from eat.modules.heads import Head, mean_in_order, mean_pool
from eat.modules.linear import Linear
from eat.modules.quantized import CHUNK_CELLS, PackedLinear, QuantizedEmbedding, QuantizedLinear
from eat.ops.int8 import INT8_GAIN, best_bits, gains, is_exact

log = logging.getLogger(__name__)

L = TypeVar("L", bound=nn.Module)


def int8_engine() -> dict[str, Any]:
    """Return the ``engine`` of a configuration, as this processor computes it best."""
    return {"name": "int8", "activation_bits": best_bits()}


def why_not_int8() -> str | None:
    """Say why a model is not quantised on this machine, or None where int8 is faster."""
    if gains():
        return None
    return f"int8 is no faster than float32 on this processor (int8_gain={INT8_GAIN.value():.2g})"


def quantize_layers(encoder: nn.Module, bits: int) -> None:
    """Replace an encoder's dense layers and its table of words by int8 ones; norms and positions stay float32.

    What stays float32 is computed with the same rounding in every batch: quantisation would make more of a difference.
    """
    embeddings: Any = encoder.embeddings
    embeddings.words = QuantizedEmbedding(embeddings.words)
    replace_layers(encoder, Linear, lambda layer: QuantizedLinear(layer, bits))
    for module in encoder.modules():
        if isinstance(module, Block):
            module.inner_cells = CHUNK_CELLS
        elif isinstance(module, Head) and module.pool is mean_pool:
            module.pool = mean_in_order
    encoder.requires_grad_(False)


def pack_layers(encoder: nn.Module) -> None:
    """Replace an encoder's dense layers by packed ones with the same weights."""
    replace_layers(encoder, Linear, PackedLinear)
    encoder.requires_grad_(False)


def replace_layers(module: nn.Module, kind: type[L], make: Callable[[L], nn.Module]) -> None:
    """Replace the layers of exactly this kind, wherever they are within a module, by what is made of each."""
    for name, child in module.named_children():
        if type(child) is kind:
            setattr(module, name, make(child))
        else:
            replace_layers(child, kind, make)


def check_source(model: PreTrainedModel, method: str) -> None:
    """Check that a model can be made one for inference: float32 on a CPU, without adapters, not made so before."""
    types = {(p.dtype, p.device.type) for p in model.parameters()}
    if types != {(torch.float32, "cpu")}:
        got = ", ".join(sorted(f"{str(dtype).removeprefix('torch.')} on {device}" for dtype, device in types))
        raise ValueError(f"{method}: expected a float32 model on a CPU, got {got}; load it so (model.float().cpu())")
    made = [m for m in model.modules() if isinstance(m, QuantizedLinear | PackedLinear)]
    if made:
        raise ValueError(f"{method}: expected a float32 model as it was trained, got one that is made for inference")
    if any(hasattr(module, "get_base_layer") for module in model.modules()):
        raise ValueError(f"{method}: expected a model without adapters; merge them first (merge_and_unload)")


def check_place(model: PreTrainedModel) -> None:
    """Refuse a loaded int8 model whose other numbers are of another type or elsewhere, and say where it is slow."""
    if model.config.engine is None:
        return
    for tensor in model.parameters():
        refuse_place(tensor)
    model.requires_grad_(False)
    say_slow(model.config.engine["activation_bits"])


def refuse_place(tensor: Tensor) -> None:
    """Refuse to be where this tensor is, or of its type."""
    if tensor.dtype is not torch.float32 or tensor.device.type not in ("cpu", "meta"):
        raise ValueError(
            f"an int8 model computes in float32 on a CPU, got {str(tensor.dtype).removeprefix('torch.')} on "
            f"{tensor.device.type}; take the float32 model for that"
        )


def say_slow(bits: int) -> None:
    """Say where a loaded int8 model has only the slow product, which gives the same numbers."""
    if not is_exact(bits):
        log.warning(
            "this int8 model has rows of %d bits, for which this processor has no exact fast product: it answers as it "
            "was saved, but slowly; quantise the float32 model on this machine instead",
            bits,
        )
