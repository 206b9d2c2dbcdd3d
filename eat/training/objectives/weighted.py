"""What most objectives share: the phase, which says what a step is about, and the labels' loss weighted by it."""

import dataclasses
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from eat.checks import number
from eat.ops.losses import joint_loss

Batch = Mapping[str, Tensor]
Loss = tuple[Float[Tensor, ""], dict[str, Tensor]]
"""The loss of a batch, and its named parts, weighted as they enter it."""


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
    """

    needs_classes = False
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        number("objective.label_smoothing", self.label_smoothing, at_least=0, below=1)

    def restarts(self, total_steps: int) -> tuple[int, ...]:
        """Return no step: there is one stage."""
        return ()

    def __call__(self, all_logits: Float[Tensor, "batch heads classes"], batch: Batch, phase: Phase) -> Loss:
        """Return the loss, its one part."""
        loss = joint_loss(all_logits, batch["labels"], phase.weights, self.label_smoothing)
        return loss, {"supervised": loss}
