"""What most objectives share: the phase, which says what a step is about, and the labels' loss weighted by it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from eat.checks import number, several
from eat.ops.losses import joint_loss

Batch = Mapping[str, Tensor]
Loss = tuple[Float[Tensor, ""], dict[str, Tensor]]
"""The loss of a batch, and its named parts, weighted as they enter it."""
OF_CLASSES = ("label_smoothing", "class_weights", "focal_gamma")
"""Options of cross-entropy, which a regression has none of."""


@dataclasses.dataclass(frozen=True)
class Phase:
    """What one step trains."""

    head_depths: tuple[int, ...]  # heads that the loss reads, ascending; no other runs, nor a block behind the last
    weights: tuple[float, ...]  # of each of these heads' loss against the labels
    frozen: bool = False  # embeddings, blocks and final head stand still, without dropout: only early heads learn


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightedObjective:
    """L = sum_l w_l L_l over the phase's heads; a subclass says which heads and weights each step has.

    Attributes:
        label_smoothing: Part of each target that is spread over all classes, in [0, 1); a regression takes 0 alone.
        class_weights: What an example of each class counts, in label order; None for 1 each, and for a regression.
        focal_gamma: gamma of the focal loss (Lin et al. 2017, arXiv:1708.02002); 0 is off, and a regression's.
    """

    needs_classes = False
    label_smoothing: float = 0.0
    class_weights: Sequence[float] | None = None
    focal_gamma: float = 0.0

    def __post_init__(self) -> None:
        number("objective.label_smoothing", self.label_smoothing, at_least=0, below=1)
        number("objective.focal_gamma", self.focal_gamma, at_least=0)
        if self.class_weights is not None:
            for weight in several("objective.class_weights", self.class_weights, "[1.0,3.0]"):
                number("objective.class_weights", weight, at_least=0)

    @property
    def of_classes(self) -> dict[str, Any]:
        """The options of cross-entropy, as `eat.ops.losses` has them."""
        return {name: getattr(self, name) for name in OF_CLASSES}

    def restarts(self, total_steps: int) -> tuple[int, ...]:
        """Return no step: there is one stage."""
        return ()

    def __call__(self, all_logits: Float[Tensor, "batch heads classes"], batch: Batch, phase: Phase) -> Loss:
        """Return the loss, its one part."""
        loss = joint_loss(all_logits, batch["labels"], phase.weights, **self.of_classes)
        return loss, {"supervised": loss}
