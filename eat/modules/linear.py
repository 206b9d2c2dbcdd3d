"""The dense layer of every block and head, and the memory layout of its weights."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.activations import GELUActivation

from eat.ops.linear import arranged, linear

# Bytes to which torch aligns CPU tensors.
ALIGNMENT = 64


class Linear(nn.Linear):
    """torch's dense layer on packed rows, by the fastest product that the processor has; see :mod:`eat.ops.linear`.

    Of the activations that may follow, the exact GELU costs next to nothing as part of the product.
    """

    def __init__(self, inputs: int, outputs: int, activation: nn.Module | None = None) -> None:
        super().__init__(inputs, outputs)
        self.gelu = isinstance(activation, GELUActivation)
        self.activation = None if self.gelu else activation

    def forward(self, rows: Float[Tensor, "tokens inputs"]) -> Float[Tensor, "tokens outputs"]:
        """Return rows W^T + b, activated."""
        product = linear(rows, self.weight, self.bias, gelu=self.gelu)
        return product if self.activation is None else self.activation(product)

    @torch.no_grad()
    def arrange(self) -> None:
        """Lay the weight out in memory as the product reads it; its values and shape stay."""
        self.weight.data = arranged(self.weight.data)


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
