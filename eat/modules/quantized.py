"""Layers for inference on a CPU: dense layers in int8, in bfloat16 or packed in float32, embedding tables in int8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from eat.modules.linear import Linear
from eat.ops.bf16 import Bf16Product
from eat.ops.int8 import Int8Product, quantized_weight
from eat.ops.linear import linear_packed, packed

CHUNK_CELLS = 200_000
"""Most numbers inside the feed-forward at a time in int8: what is read and written several times stays in the cache."""

T = TypeVar("T")


class Made(Generic[T]):
    """What is made of a layer's weights when they are first used; copies of a model share it, files leave it out."""

    def __init__(self) -> None:
        self.value: T | None = None

    def get(self, make: Callable[[], T]) -> T:
        """Return it, made the first time."""
        if self.value is None:
            self.value = make()
        return self.value

    def __deepcopy__(self, memo: Any) -> Made[T]:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Made, ()


class _MadeFromWeights(nn.Module):
    """A layer with something made of its weights, which is made anew when others are loaded."""

    _made: Made[Any]

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._made = Made()


class QuantizedLinear(_MadeFromWeights):
    """A dense layer with an int8 weight, one scale for each output, and rows of ``bits`` bits; see `eat.ops.int8`."""

    fuses_gelu = True
    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, layer: nn.Linear, bits: int) -> None:
        super().__init__()
        weight, scale = quantized_weight(layer.weight.detach())
        self.bits = bits
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        bias = torch.zeros_like(scale) if layer.bias is None else layer.bias.detach().clone()
        self.register_buffer("bias", bias)
        self._made: Made[Int8Product] = Made()

    def forward(self, rows: Float[Tensor, "tokens inputs"], *, gelu: bool = False) -> Float[Tensor, "tokens outputs"]:
        """Return rows W^T + b, or the exact GELU of it."""
        if rows.requires_grad:
            raise RuntimeError("an int8 model has no gradients: train or explain the float32 model instead")
        out = self._made.get(self._product)(rows, self.bias)
        return F.gelu(out) if gelu else out

    def _product(self) -> Int8Product:
        return Int8Product(self.weight, self.scale, self.bits)

    def extra_repr(self) -> str:
        """Say the shape."""
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}, int8 weights, {self.bits}-bit rows"


class Bf16Linear(_MadeFromWeights):
    """A dense layer with a bfloat16 weight and answers in bfloat16; see `eat.ops.bf16`."""

    fuses_gelu = True
    weight: Tensor
    bias: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias.detach()
        self.register_buffer("weight", layer.weight.detach().to(torch.bfloat16).contiguous())
        self.register_buffer("bias", bias.to(torch.bfloat16))
        self._made: Made[Bf16Product] = Made()

    def forward(self, rows: Float[Tensor, "tokens inputs"], *, gelu: bool = False) -> Float[Tensor, "tokens outputs"]:
        """Return rows W^T + b, or the exact GELU of it."""
        if rows.requires_grad:
            raise RuntimeError("a bf16 model has no gradients: train or explain the float32 model instead")
        return self._made.get(lambda: Bf16Product(self.weight))(rows, self.bias, gelu=gelu)

    def _apply(self, fn: Any, recurse: bool = True) -> Bf16Linear:
        """Move the tensors with the model's, which stay float32 where these are not."""
        super()._apply(fn, recurse)
        self.weight, self.bias = self.weight.to(torch.bfloat16), self.bias.to(torch.bfloat16)
        return self

    def extra_repr(self) -> str:
        """Say the shape."""
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}, bfloat16"


class QuantizedEmbedding(nn.Module):
    """A table in int8 with a scale for each row, which is multiplied when a row is looked up."""

    weight: Tensor
    scale: Tensor

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        weight, scale = quantized_weight(table.weight.detach())
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale.unsqueeze(1))
        self.num_embeddings, self.embedding_dim = weight.shape

    def forward(self, ids: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens width"]:
        """Return the rows of some words, in float32."""
        return self.weight.index_select(0, ids) * self.scale.index_select(0, ids)

    def extra_repr(self) -> str:
        """Say the shape."""
        return f"{self.num_embeddings}, {self.embedding_dim}, int8"


class PackedLinear(_MadeFromWeights, Linear):
    """A dense layer with a second copy of its weight in the order that oneDNN reads fastest, for inference."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self._made: Made[Tensor | None] = Made()

    def forward(self, rows: Float[Tensor, "tokens inputs"], *, gelu: bool = False) -> Float[Tensor, "tokens outputs"]:
        """Return rows W^T + b, or the exact GELU of it."""
        weight = self._made.get(lambda: packed(self.weight))
        if weight is None or rows.requires_grad or rows.dtype is not torch.float32 or rows.device.type != "cpu":
            return super().forward(rows, gelu=gelu)
        return linear_packed(rows, weight, self.bias, gelu=gelu)
