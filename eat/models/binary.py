"""Binary weights: one bit each on disk, dense numbers in memory, where they are multiplied as any others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from eat.checks import shown, true_or_false
from eat.modules.linear import Linear
from eat.ops.binary import pack_signs, unpack_signs

SIGNS, SCALE = ".signs", ".scale"
"""What stands on disk in the place of a binary weight, behind its name."""


def binary_weights(*, embeddings: bool) -> dict[str, Any]:
    """Return ``weights`` of a configuration: dense layers of the blocks are binary, and perhaps the table of words."""
    return {"name": "binary", "embeddings": embeddings}


def check_weights(weights: Any, engine: Any) -> None:
    """Check what a configuration says of the weights' own numbers; None for floating point."""
    if weights is None:
        return
    if not isinstance(weights, Mapping) or set(weights) != {"name", "embeddings"} or weights["name"] != "binary":
        raise ValueError(
            f"config.weights: expected none, or name 'binary' and embeddings, got {shown(weights)}; was it saved by a "
            "newer version?"
        )
    true_or_false("config.weights.embeddings", weights["embeddings"])
    if engine is not None:
        raise ValueError(f"config.engine: expected none with binary weights, which have one bit, got {shown(engine)}")


def why_not_quantized(model: PreTrainedModel) -> str | None:
    """Say why a model cannot get int8 or bfloat16 weights; None where nothing speaks against it."""
    if model.config.weights is None:
        return None
    return "its weights are binary, of one bit each, and others would take more"


def binary_layers(encoder: nn.Module, *, embeddings: bool) -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers of an encoder whose weights are binary, by their names within it."""
    for name, module in encoder.named_modules():
        if isinstance(module, Linear) and name.startswith("blocks."):
            yield name, module
    if embeddings:
        yield "embeddings.words", encoder.get_submodule("embeddings.words")


def packed_state(model: PreTrainedModel, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a model's tensors as they lie on disk: of binary weights the bits and the scales.

    Raises:
        ValueError: If a weight that should be binary is not.
    """
    packed = dict(state)
    for name in _names(model):
        try:
            packed[name + SIGNS], packed[name + SCALE] = pack_signs(packed.pop(name))
        except ValueError as error:
            raise ValueError(f"{name}: {error}; the configuration says that it is binary") from None
    return packed


def packed_shapes(model: PreTrainedModel) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's tensors as they lie on disk."""
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name in _names(model):
        outputs, inputs = shapes.pop(name)
        shapes |= {name + SIGNS: (outputs, -(-inputs // 8)), name + SCALE: (outputs,)}
    return shapes


def unpacked_state(model: PreTrainedModel, packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a model's tensors from what lies on disk, which is checked to be complete."""
    state, own = dict(packed), model.state_dict()
    for name in _names(model):
        state[name] = unpack_signs(state.pop(name + SIGNS), state.pop(name + SCALE), own[name].shape[1])
    return state


def disk_bytes(model: PreTrainedModel) -> dict[str, tuple[int, int]]:
    """Return the bytes of a model's tensors in 32 bits and as they lie on disk, of the blocks and of the whole file.

    Shapes suffice: the model may be one without memory (device "meta"). The header of the file is not counted.
    """
    plain = {name: tensor.numel() * 4 for name, tensor in model.state_dict().items()}
    packed = {
        name: torch.Size(shape).numel() * (1 if name.endswith(SIGNS) else 4)
        for name, shape in packed_shapes(model).items()
    }
    sums = {}
    for part, prefix in (("blocks", "encoder.blocks."), ("whole file", "")):
        before, after = (sum(n for name, n in sizes.items() if name.startswith(prefix)) for sizes in (plain, packed))
        sums[part] = (before, after)
    return sums


def _names(model: PreTrainedModel) -> list[str]:
    if model.config.weights is None:
        return []
    layers = binary_layers(model.get_submodule("encoder"), embeddings=model.config.weights["embeddings"])
    return [f"encoder.{name}.weight" for name, _ in layers]
