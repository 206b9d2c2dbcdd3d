"""All heads at once, each example's loss where that example is likely to leave."""

from jaxtyping import Float
from torch import Tensor

from eat.ops.losses import routed_cross_entropy
from eat.training.objectives.weighted import Batch, Loss, Phase, WeightedObjective


class SoftRoutingObjective(WeightedObjective):
    """Soft routing in the manner of BEExformer (Ansar et al. 2024, arXiv:2412.05225): L = mean_i sum_l r_il CE_il.

    r_il is how likely example i is to leave at head l, see `eat.ops.losses.routing_weights`.
    """

    needs_classes = True

    def phase(self, step: int, total_steps: int, head_depths: tuple[int, ...]) -> Phase:
        """Return the same for every step: all heads, among which each example shares out a weight of 1."""
        return Phase(head_depths, (1.0,) * len(head_depths))

    def __call__(self, all_logits: Float[Tensor, "batch heads classes"], batch: Batch, phase: Phase) -> Loss:
        """Return the loss, its one part."""
        loss = routed_cross_entropy(all_logits, batch["labels"], **self.of_classes)
        return loss, {"supervised": loss}
