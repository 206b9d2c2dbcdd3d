"""Compression: make the encoder's weights fewer or coarser while it trains, so that it learns to do with them."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from eat.models.classifier import AdaptiveForSequenceClassification
from eat.registry import Family, build_part
from eat.training.compression.binarized import BinarizedCompression
from eat.training.compression.magnitude import MagnitudeCompression
from eat.training.compression.movement import MovementCompression
from eat.training.compression.none import NoCompression
from eat.training.compression.quantized import QuantizedCompression
from eat.training.compression.soft_movement import SoftMovementCompression
from eat.training.compression.structured import StructuredCompression

__all__ = ["COMPRESSIONS", "Compression", "build_compression"]


@runtime_checkable
class Compression(Protocol):
    """Compress a model while it trains.

    It holds its arguments alone: what it learns lies in the model, in parameters that checkpoints carry, and all else
    follows from them and the step. ``total_steps`` are the optimiser steps that train the encoder: the first stage in
    objectives that freeze it afterwards. Parameters of its own, such as scores, may have their own learning rate: that
    of the module that holds them, by the name ``learning_rate`` (see `eat.training.optimizer.adamw`).

    Attributes:
        int8: True where training computes as the int8 engine does: the finished model answers as validations saw it
            once it is quantised (`AdaptiveForSequenceClassification.quantize`). Else the finished model itself does.
    """

    int8: bool

    def attach(self, model: AdaptiveForSequenceClassification) -> None:
        """Prepare a model that is about to be trained, in place; called once, before the optimiser is made.

        Raises:
            ValueError: If the model is of a kind that it does not fit; says which.
        """

    def end_step(self, total_steps: int) -> int:
        """Return the first step at which the model is as compressed as in the end; earlier validations do not count."""

    def update(self, model: AdaptiveForSequenceClassification, step: int, total_steps: int) -> None:
        """Set what depends on the step, before it is taken and before a validation; ``step`` counts those taken."""

    def penalty(self, model: AdaptiveForSequenceClassification) -> Float[Tensor, ""] | None:
        """Return what is added to the loss of the step that was set; None for nothing."""

    def finish(self, model: AdaptiveForSequenceClassification) -> AdaptiveForSequenceClassification:
        """Return the model to be saved: compressed as in the end, with nothing left of what ``attach`` prepared.

        It may be another one, and the model that was given is then not used any more.
        """


COMPRESSIONS: Family[Callable[..., Any]] = Family(
    "eat.compressions",
    {
        "none": NoCompression,
        "magnitude": MagnitudeCompression,
        "movement": MovementCompression,
        "soft_movement": SoftMovementCompression,
        "structured": StructuredCompression,
        "quantized": QuantizedCompression,
        "binarized": BinarizedCompression,
    },
)


def build_compression(spec: Mapping[str, Any]) -> Compression:
    """Build a compression from ``{"name": ..., **arguments}``."""
    return build_part("compression", COMPRESSIONS, spec)
