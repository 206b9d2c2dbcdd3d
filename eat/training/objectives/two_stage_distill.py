"""First the encoder with its final head, then the early heads on the frozen encoder, by the final head's answers."""

import dataclasses

from jaxtyping import Float
from torch import Tensor

from eat.checks import number
from eat.ops.labels import is_multi_label
from eat.ops.losses import self_distillation
from eat.training.objectives.two_stage import TwoStageObjective
from eat.training.objectives.weighted import Batch, Loss, Phase


@dataclasses.dataclass(frozen=True)
class TwoStageDistillObjective(TwoStageObjective):
    """FastBERT (Liu et al. 2020, arXiv:2004.02178): L_n first; then early heads learn the frozen final head's answers.

    The second stage reads no labels: L = mean_{i<n} T^2 KL(P_n^T || P_i^T). Where it differs: the paper writes
    sum_{i<n} KL(P_i || P_n), the two sides exchanged; here they stand as in eat's other distillations.

    Attributes:
        temperature: T; the paper has none, which is 1.
    """

    temperature: float

    def __post_init__(self) -> None:
        super().__post_init__()
        number("objective.temperature", self.temperature, above=0)

    def frozen_phase(self, head_depths: tuple[int, ...]) -> Phase:
        """Return the second stage: all heads, the final one as the teacher."""
        return Phase(head_depths, (0.0,) * len(head_depths), frozen=True)

    def __call__(self, all_logits: Float[Tensor, "batch heads classes"], batch: Batch, phase: Phase) -> Loss:
        """Return the loss, its one part."""
        if not phase.frozen:
            return super().__call__(all_logits, batch, phase)
        multi_label = is_multi_label(batch["labels"], all_logits.shape[2])
        loss = self_distillation(all_logits, self.temperature, multi_label)
        return loss, {"self_distillation": loss}
