"""What removes more and more weights of the encoder while it trains: the schedule, and masks on the dense layers."""

import abc
import dataclasses
from collections.abc import Iterator
from typing import TypeVar, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from eat.checks import number
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.ops.sparsity import cubic_share, straight_through
from eat.training.compression.layers import dense_layers


class Mask(nn.Module):
    """Multiplies a weight by zeros and ones, as a parametrization of torch's.

    The mask is no part of a checkpoint: it follows from the weights, the scores and the step.
    """

    mask: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.bool), persistent=False)

    def forward(self, weight: Float[Tensor, "outputs inputs"]) -> Float[Tensor, "outputs inputs"]:
        """Return the weight with zeros where the mask is False."""
        return weight * self.mask

    def set(self, mask: Bool[Tensor, " *shape"]) -> None:
        """Set which weights stay."""
        self.mask.copy_(mask)


class ScoredMask(Mask):
    """A mask by scores that are learned, one for each weight; the gradient passes it by to reach them."""

    def __init__(self, weight: Tensor, learning_rate: float) -> None:
        super().__init__(weight)
        self.scores = nn.Parameter(torch.zeros_like(weight))
        self.learning_rate = learning_rate

    def forward(self, weight: Float[Tensor, "outputs inputs"]) -> Float[Tensor, "outputs inputs"]:
        """Return the weight with zeros where the mask is False."""
        return weight * straight_through(self.mask, self.scores)


M = TypeVar("M", bound=Mask)


def masks(model: AdaptiveForSequenceClassification, kind: type[M]) -> Iterator[tuple[Tensor, M]]:
    """Yield the weight of each of a model's masked dense layers, as it is without its mask, and the mask."""
    for layer in dense_layers(model):
        yield cast(Tensor, layer.get_parameter("parametrizations.weight.original")), mask_of(layer, kind)


def mask_of(layer: nn.Module, kind: type[M]) -> M:
    """Return a masked layer's mask."""
    mask = layer.get_submodule("parametrizations.weight.0")
    assert isinstance(mask, kind)
    return mask


@dataclasses.dataclass(frozen=True)
class GradualCompression(abc.ABC):
    """Prunes weights along the cubic schedule of `eat.ops.sparsity.cubic_share`.

    Attributes:
        start: Part of the encoder's training before anything is pruned, in [0, 1].
        end: Part of it after which the final share is kept, from ``start`` to 1; the rest trains what is left.
    """

    start: float
    end: float

    int8 = False

    def __post_init__(self) -> None:
        number("compression.start", self.start, at_least=0, at_most=1)
        number("compression.end", self.end, at_least=0, at_most=1)
        if self.end < self.start:
            raise ValueError(f"compression.end: expected at least compression.start={self.start}, got {self.end}")

    def end_step(self, total_steps: int) -> int:
        """Return the first step at which no more is pruned."""
        return round(self.end * total_steps)

    def share_at(self, final: float, step: int, total_steps: int) -> float:
        """Return the share of the weights that is kept after so many steps; ``final`` in the end."""
        if step >= self.end_step(total_steps):
            return final
        if step <= self.start * total_steps:
            return 1.0
        return cubic_share(final, (step / total_steps - self.start) / (self.end - self.start))

    def penalty(self, model: AdaptiveForSequenceClassification) -> Tensor | None:
        """Return None: the schedule says how much is pruned."""
        return None

    @abc.abstractmethod
    def update(self, model: AdaptiveForSequenceClassification, step: int, total_steps: int) -> None:
        """See `eat.training.compression.Compression`."""

    def finish(self, model: AdaptiveForSequenceClassification) -> AdaptiveForSequenceClassification:
        """Put the masks of the final share into the weights."""
        self.update(model, 1, 1)
        for layer in dense_layers(model):
            parametrize.remove_parametrizations(layer, "weight")
        return model
