"""Train the encoder with weights of one bit."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from eat.checks import true_or_false
from eat.models.binary import binary_layers, binary_weights
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.ops.binary import binarized


class Binarized(nn.Module):
    """Turns a latent weight into its sign and the scale of its output, as a parametrization of torch's."""

    def forward(self, weight: Float[Tensor, "outputs inputs"]) -> Float[Tensor, "outputs inputs"]:
        """Return alpha sign(w)."""
        return binarized(weight)


@dataclasses.dataclass(frozen=True)
class BinarizedCompression:
    """Binarisation-aware training as in BEExformer (Ansar et al. 2024, arXiv:2412.05225), from its abstract.

    Latent real weights w are trained; the model computes with W' = alpha sign(w), whose gradient is that of a piecewise
    quadratic approximation (`eat.ops.binary.approx_sign`), so that it depends on sign and magnitude. Latent weights are
    kept in [-1, 1], beyond which that gradient is 0. Norms, biases, positions and heads stay real, activations as well.

    What the paper's body says was not at hand: that its approximation is Bi-Real Net's is an assumption, and alpha, the
    mean |w| of each output, is XNOR-Net's. Binary from the first step on; there is no schedule.

    Attributes:
        embeddings: Whether the table of words is binary too, with a scale for each word: most of a small model's file.
    """

    embeddings: bool

    int8 = False

    def __post_init__(self) -> None:
        true_or_false("compression.embeddings", self.embeddings)

    def attach(self, model: AdaptiveForSequenceClassification) -> None:
        """Let the layers compute with signs."""
        for _, layer in binary_layers(model.encoder, embeddings=self.embeddings):
            parametrize.register_parametrization(layer, "weight", Binarized())

    def end_step(self, total_steps: int) -> int:
        """Return 0: the weights are binary from the first step on."""
        return 0

    @torch.no_grad()
    def update(self, model: AdaptiveForSequenceClassification, step: int, total_steps: int) -> None:
        """Clip the latent weights to where they can still learn."""
        for _, layer in binary_layers(model.encoder, embeddings=self.embeddings):
            layer.get_parameter("parametrizations.weight.original").clamp_(-1, 1)

    def penalty(self, model: AdaptiveForSequenceClassification) -> Tensor | None:
        """Return None."""
        return None

    def finish(self, model: AdaptiveForSequenceClassification) -> AdaptiveForSequenceClassification:
        """Keep signs and scales alone, and let the configuration say so: a file then has one bit for each weight."""
        self.update(model, 1, 1)
        for _, layer in binary_layers(model.encoder, embeddings=self.embeddings):
            parametrize.remove_parametrizations(layer, "weight")
        model.config.weights = binary_weights(embeddings=self.embeddings)
        return model
