"""The dense layers of an encoder's blocks, which compression is about, and how many weights they have."""

from collections.abc import Iterator

from eat.models.classifier import AdaptiveForSequenceClassification
from eat.modules.linear import Linear


def dense_layers(model: AdaptiveForSequenceClassification) -> Iterator[Linear]:
    """Yield the dense layers of the encoder's blocks, one that blocks share once; no heads and no embeddings."""
    for module in model.encoder.blocks.modules():
        if isinstance(module, Linear):
            yield module


def count_weights(model: AdaptiveForSequenceClassification) -> tuple[int, int]:
    """Count the weights of these layers, biases left out: all, and those that are not zero."""
    weights = [layer.weight.detach() for layer in dense_layers(model)]
    return sum(weight.numel() for weight in weights), sum(int(weight.count_nonzero()) for weight in weights)
