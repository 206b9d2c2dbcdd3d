"""Prune the weights of least magnitude, ever more of them while the encoder trains."""

import dataclasses

from torch.nn.utils import parametrize

from eat.checks import number
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.ops.sparsity import keep_largest, kept_count
from eat.training.compression.gradual import GradualCompression, Mask, masks
from eat.training.compression.layers import dense_layers


@dataclasses.dataclass(frozen=True)
class MagnitudeCompression(GradualCompression):
    """Magnitude pruning (Han et al. 2015, arXiv:1506.02626) along Zhu and Gupta's schedule (2017, arXiv:1710.01878).

    W' = W * M, where M marks the largest |W| of each matrix of the encoder's blocks; biases, norms, embeddings and
    heads stay whole. Weights that are pruned get no gradient, and come back only where others of their matrix shrink
    below them before the schedule has ended.

    Attributes:
        keep: Share of each matrix that is kept in the end, in (0, 1].
    """

    keep: float

    def __post_init__(self) -> None:
        super().__post_init__()
        number("compression.keep", self.keep, above=0, at_most=1)

    def attach(self, model: AdaptiveForSequenceClassification) -> None:
        """Put a mask on each matrix."""
        for layer in dense_layers(model):
            parametrize.register_parametrization(layer, "weight", Mask(layer.weight))

    def update(self, model: AdaptiveForSequenceClassification, step: int, total_steps: int) -> None:
        """Mark what is kept at this step by the weights as they are."""
        share = self.share_at(self.keep, step, total_steps)
        for weight, mask in masks(model, Mask):
            mask.set(keep_largest(weight.abs(), kept_count(share, weight.numel())))
