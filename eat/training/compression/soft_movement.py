"""Prune the weights whose learned scores fall below a threshold: each matrix finds its own share."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import parametrize

from eat.checks import number
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.ops.sparsity import keep_largest, kept_count
from eat.training.compression.gradual import GradualCompression, ScoredMask, masks
from eat.training.compression.layers import dense_layers

LEAST = 0.005
"""Share of a matrix that stays whatever its scores, as in the authors' code."""


class PenalisedMask(ScoredMask):
    """A mask with scores, which a penalty lowers."""

    penalty_weight = 0.0


@dataclasses.dataclass(frozen=True)
class SoftMovementCompression(GradualCompression):
    """Soft movement pruning (Sanh et al. 2020, arXiv:2005.07683): M marks where sigmoid(S) > tau.

    Scores learn as in `eat.training.compression.movement.MovementCompression`, and lambda * mean(sigmoid(S)), the mean
    over each matrix and over the matrices, is added to the loss. Threshold and lambda grow from 0 along the cubic
    schedule. How much is pruned follows from lambda, and may differ from matrix to matrix.

    Attributes:
        threshold: tau in the end, in (0, 0.5): scores start at sigmoid(0) = 0.5.
        penalty_weight: lambda in the end.
        score_lr: Peak of the scores' learning rate, with the schedule of all others; they do not decay.
    """

    threshold: float
    penalty_weight: float
    score_lr: float

    def __post_init__(self) -> None:
        super().__post_init__()
        number("compression.threshold", self.threshold, above=0, below=0.5)
        number("compression.penalty_weight", self.penalty_weight, at_least=0)
        number("compression.score_lr", self.score_lr, at_least=0)

    def attach(self, model: AdaptiveForSequenceClassification) -> None:
        """Put a mask with scores on each matrix."""
        for layer in dense_layers(model):
            parametrize.register_parametrization(layer, "weight", PenalisedMask(layer.weight, self.score_lr))

    def update(self, model: AdaptiveForSequenceClassification, step: int, total_steps: int) -> None:
        """Mark the scores above this step's threshold."""
        grown = 1.0 - self.share_at(0.0, step, total_steps)
        for _, mask in masks(model, PenalisedMask):
            mask.penalty_weight = self.penalty_weight * grown
            least = keep_largest(mask.scores, kept_count(LEAST, mask.scores.numel()))
            mask.set(least | (mask.scores.sigmoid() > self.threshold * grown))

    def penalty(self, model: AdaptiveForSequenceClassification) -> Float[Tensor, ""]:
        """Return lambda times the mean of all scores."""
        found = [mask.penalty_weight * mask.scores.sigmoid().mean() for _, mask in masks(model, PenalisedMask)]
        return torch.stack(found).mean()
