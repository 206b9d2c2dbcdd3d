"""What most objectives share: one stage, and the labels' loss weighted as the phase says."""

from jaxtyping import Float
from torch import Tensor

from eat.ops.losses import joint_loss
from eat.training.objectives.phase import Batch, Phase


class WeightedObjective:
    """L = sum_l w_l L_l over the phase's heads; a subclass says which heads and weights each step has."""

    needs_classes = False

    def restarts(self, total_steps: int) -> tuple[int, ...]:
        """Return no step: there is one stage."""
        return ()

    def __call__(
        self, all_logits: Float[Tensor, "batch heads classes"], batch: Batch, phase: Phase
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the loss, its one part."""
        loss = joint_loss(all_logits, batch["labels"], phase.weights)
        return loss, {"supervised": loss}
