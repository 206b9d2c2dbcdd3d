"""Turn a model into one for inference on a CPU: with int8 or bfloat16 weights, or with packed float32 ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from eat.checks import shown
from eat.modules.block import Block
from eat.modules.heads import Head, mean_in_order, mean_pool
from eat.modules.linear import Linear
from eat.modules.quantized import CHUNK_CELLS, Bf16Linear, PackedLinear, QuantizedEmbedding, QuantizedLinear
from eat.ops import bf16
from eat.ops.bf16 import BF16_GAIN
from eat.ops.int8 import INT8_GAIN, best_bits, checked_bits, is_exact
from eat.ops.linear import WORTH

log = logging.getLogger(__name__)

L = TypeVar("L", bound=nn.Module)


GAINS = {"int8": INT8_GAIN, "bf16": BF16_GAIN}
"""What the weights of a model for inference may be, beside float32, and how much faster that is on this machine."""


def engine_config(numbers: str, activation_bits: int | None = None) -> dict[str, Any]:
    """Return the ``engine`` of a configuration; without ``activation_bits`` as this processor computes it best."""
    if numbers != "int8":
        if activation_bits is not None:
            raise ValueError(f"activation_bits: expected none with {numbers}, got {shown(activation_bits)}")
        return {"name": numbers}
    bits = best_bits() if activation_bits is None else checked_bits("activation_bits", activation_bits)
    return {"name": "int8", "activation_bits": bits}


def why_not(numbers: str) -> str | None:
    """Say why a model gets no such weights on this machine, or None where they are faster than float32."""
    gain = GAINS[numbers]
    if gain.value() >= WORTH:
        return None
    return f"{numbers} is no faster than float32 on this processor ({gain.name}={gain.value():.2g})"


def convert_layers(encoder: nn.Module, engine: Mapping[str, Any]) -> None:
    """Replace an encoder's layers by those of a configuration's ``engine``."""
    if engine["name"] == "int8":
        quantize_layers(encoder, engine["activation_bits"])
    else:
        round_layers(encoder)


def round_layers(encoder: nn.Module) -> None:
    """Replace the dense layers of an encoder's blocks by bfloat16 ones; embeddings, norms and heads stay float32."""
    blocks: Any = encoder.blocks
    for block in blocks:
        replace_layers(block, Linear, Bf16Linear)
    encoder.requires_grad_(False)


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
    made = [m for m in model.modules() if isinstance(m, QuantizedLinear | Bf16Linear | PackedLinear)]
    if made:
        raise ValueError(f"{method}: expected a float32 model as it was trained, got one that is made for inference")
    if any(hasattr(module, "get_base_layer") for module in model.modules()):
        raise ValueError(f"{method}: expected a model without adapters; merge them first (merge_and_unload)")


def check_place(model: PreTrainedModel) -> None:
    """Refuse a loaded model for inference whose other numbers are elsewhere or of another type; say if it is slow."""
    engine = model.config.engine
    if engine is None:
        return
    for tensor in model.parameters():
        refuse_place(tensor, engine["name"])
    model.requires_grad_(False)
    if engine["name"] == "int8":
        say_slow(engine["activation_bits"])
    elif not bf16.is_fast():
        log.warning(
            "this model has bfloat16 weights, for which this processor has no fast product: it answers slowly; use the "
            "float32 model on this machine"
        )


def refuse_place(tensor: Tensor, numbers: str) -> None:
    """Refuse to be where this tensor is, or of its type."""
    if tensor.dtype is not torch.float32 or tensor.device.type not in ("cpu", "meta"):
        raise ValueError(
            f"a model with {numbers} weights keeps its other numbers in float32 on a CPU, got "
            f"{str(tensor.dtype).removeprefix('torch.')} on {tensor.device.type}; take the float32 model for that"
        )


def say_slow(bits: int) -> None:
    """Say where a loaded int8 model has only the slow product, which gives the same numbers."""
    if not is_exact(bits):
        log.warning(
            "this int8 model has rows of %d bits, for which this processor has no exact fast product: it answers as it "
            "was saved, but slowly; quantise the float32 model on this machine instead",
            bits,
        )
