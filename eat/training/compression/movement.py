"""Prune the weights that training moves towards zero, by scores that it learns."""

import dataclasses

from torch.nn.utils import parametrize

from eat.checks import number
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.ops.sparsity import keep_largest, kept_count
from eat.training.compression.gradual import GradualCompression, ScoredMask, masks
from eat.training.compression.layers import dense_layers


@dataclasses.dataclass(frozen=True)
class MovementCompression(GradualCompression):
    """Movement pruning (Sanh et al. 2020, arXiv:2005.07683), with top-v masks along the cubic schedule.

    W' = W * M(S), where M marks the largest scores S of each matrix of the encoder's blocks. The gradient passes the
    mask by (straight-through): dL/dS = dL/dW' * W, so that a score grows while its weight moves away from zero, and
    falls while it moves towards it. Scores start at 0. Where we differ: embeddings and heads learn as usual, where the
    paper's recipe freezes the embeddings.

    Attributes:
        keep: Share of each matrix that is kept in the end, in (0, 1].
        score_lr: Peak of the scores' learning rate, with the schedule of all others; they do not decay. AdamW's steps
            are this rate times what does not depend on it: it scales all scores alike, and changes no mask.
    """

    keep: float
    score_lr: float

    def __post_init__(self) -> None:
        super().__post_init__()
        number("compression.keep", self.keep, above=0, at_most=1)
        number("compression.score_lr", self.score_lr, at_least=0)

    def attach(self, model: AdaptiveForSequenceClassification) -> None:
        """Put a mask with scores on each matrix."""
        for layer in dense_layers(model):
            parametrize.register_parametrization(layer, "weight", ScoredMask(layer.weight, self.score_lr))

    def update(self, model: AdaptiveForSequenceClassification, step: int, total_steps: int) -> None:
        """Mark what is kept at this step by the scores as they are."""
        share = self.share_at(self.keep, step, total_steps)
        for _, mask in masks(model, ScoredMask):
            mask.set(keep_largest(mask.scores, kept_count(share, mask.scores.numel())))
