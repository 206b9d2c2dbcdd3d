"""The dense layer of every block and head, and the memory layout of its weights."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.activations import GELUActivation

from eat.ops.linear import arranged, linear

# Bytes to which torch aligns CPU tensors.
ALIGNMENT = 64


class Linear(nn.Linear):
    """torch's dense layer on packed rows, by the fastest product that the processor has; see `eat.ops.linear`."""

    fuses_gelu = True  # whether it takes ``gelu``

    def forward(self, rows: Float[Tensor, "tokens inputs"], *, gelu: bool = False) -> Float[Tensor, "tokens outputs"]:
        """Return rows W^T + b, or the exact GELU of it."""
        return linear(rows, self.weight, self.bias, gelu=gelu)

    @torch.no_grad()
    def arrange(self) -> None:
        """Lay the weight out in memory as the product reads it; its values and shape stay."""
        self.weight.data = arranged(self.weight.data)


@torch.no_grad()
def kept(layer: nn.Linear, *, outputs: Tensor | None = None, inputs: Tensor | None = None) -> Linear:
    """Return a layer with some of another's outputs or inputs, by their indices; default all."""
    weight: Tensor = layer.weight
    bias: Tensor | None = layer.bias
    if outputs is not None:
        weight, bias = weight.index_select(0, outputs), None if bias is None else bias.index_select(0, outputs)
    if inputs is not None:
        weight = weight.index_select(1, inputs)
    made = Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight)
    if bias is not None:
        made.bias = nn.Parameter(bias)
    made.arrange()
    return made.train(layer.training)


def activated(
    layer: nn.Module, rows: Float[Tensor, "tokens inputs"], activation: nn.Module
) -> Float[Tensor, "tokens outputs"]:
    """Return ``activation(layer(rows))``; the exact GELU costs next to nothing as part of our own layer's product.

    The activation stands outside the layer, so that an adapter around the layer (LoRA) or a hook on it acts on the
    product, as it does in Hugging Face's models.
    """
    fuses = getattr(type(layer), "fuses_gelu", False)  # of the type: adapters hand out what their layer has
    if fuses and type(activation) is GELUActivation and not layer._forward_hooks:
        return layer(rows, gelu=True)
    return activation(layer(rows))


def arrange_weights(model: nn.Module) -> None:
    """Lay a model's weights out in memory as their products read them fastest.

    Weights read from a file lie where the file puts them, and products round differently on memory that is not aligned;
    they are moved to memory of torch's own.
    """
    for module in model.modules():
        if isinstance(module, Linear):
            module.arrange()
    for parameter in model.parameters():
        if parameter.is_cpu and parameter.data_ptr() % ALIGNMENT:
            parameter.data = parameter.data.clone()
