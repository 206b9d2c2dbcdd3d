"""Train with weights and rows rounded as in the int8 engine, so that a quantised model answers as it was trained."""

import dataclasses

from torch import Tensor

from eat.checks import number
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.quantization import replace_layers
from eat.modules.fake_quantized import FakeQuantizedEmbedding, FakeQuantizedLinear
from eat.modules.linear import Linear
from eat.ops.int8 import checked_bits


@dataclasses.dataclass(frozen=True)
class QuantizedCompression:
    """Quantisation-aware training in the manner of Q8BERT (Zafrir et al. 2019, arXiv:1910.06188).

    x' = s * round(x / s) in place of x, whose gradient passes the rounding by (straight-through). What is rounded, and
    by which scale s, is what `AdaptiveForSequenceClassification.quantize` does to every dense layer and the table of
    words: weights to 8 bits by the largest of each output channel, rows to ``activation_bits`` by their own largest
    value. Q8BERT has one scale for each matrix, and for activations a moving average over batches. What is saved are
    the float32 weights.

    Attributes:
        activation_bits: Of a row, 8, or 7 for processors without exact products of 8 bits (see `eat.ops.int8`).
        start: Part of the encoder's training in float32 before it, in [0, 1].
    """

    activation_bits: int
    start: float

    int8 = True

    def __post_init__(self) -> None:
        checked_bits("compression.activation_bits", self.activation_bits)
        number("compression.start", self.start, at_least=0, at_most=1)

    def attach(self, model: AdaptiveForSequenceClassification) -> None:
        """Replace the layers that the int8 engine has."""
        embeddings = model.encoder.embeddings
        embeddings.words = FakeQuantizedEmbedding(embeddings.words)
        replace_layers(model.encoder, Linear, lambda layer: FakeQuantizedLinear(layer, self.activation_bits))

    def end_step(self, total_steps: int) -> int:
        """Return the first step that rounds."""
        return round(self.start * total_steps)

    def update(self, model: AdaptiveForSequenceClassification, step: int, total_steps: int) -> None:
        """Round from the first step that does."""
        for module in model.encoder.modules():
            if isinstance(module, FakeQuantizedLinear | FakeQuantizedEmbedding):
                module.active = step >= self.end_step(total_steps)

    def penalty(self, model: AdaptiveForSequenceClassification) -> Tensor | None:
        """Return None."""

    def finish(self, model: AdaptiveForSequenceClassification) -> AdaptiveForSequenceClassification:
        """Put the layers back on their float32 weights."""
        embeddings = model.encoder.embeddings
        if isinstance(embeddings.words, FakeQuantizedEmbedding):
            embeddings.words = embeddings.words.plain()
        replace_layers(model.encoder, FakeQuantizedLinear, FakeQuantizedLinear.plain)
        return model
