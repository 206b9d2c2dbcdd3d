"""All heads at once with fixed weights, and if wanted a teacher's and the final head's advice."""

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from eat.checks import number
from eat.ops import losses
from eat.ops.labels import is_multi_label
from eat.training.objectives.weighted import Batch, Loss, Phase, WeightedObjective


@dataclasses.dataclass(frozen=True)
class JointObjective(WeightedObjective):
    """EAT's eq. 3 (arXiv:2510.12856), L = sum_l lambda_l L_l + mu L_distill, with optional self-distillation.

    Attributes:
        early_weight: lambda of each early head's loss.
        final_weight: lambda of the final head's loss.
        self_weight: Weight of the final head's advice to the early ones, in the same step; 0 is off.
        teacher: Gives logits (batch, classes) for a batch; None is off.
        teacher_weight: mu, the weight of the teacher's advice to the final head.
        temperature: T of both kinds of advice.
    """

    early_weight: float
    final_weight: float
    self_weight: float
    teacher: Callable[[Batch], Tensor] | None
    teacher_weight: float
    temperature: float

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("early_weight", "final_weight", "self_weight", "teacher_weight"):
            number(f"objective.{name}", getattr(self, name), at_least=0)
        number("objective.temperature", self.temperature, above=0)
        if self.teacher is not None and not callable(self.teacher):
            raise ValueError(
                f"objective.teacher: expected what gives logits for a batch, or None, got {self.teacher!r}"
            )

    def phase(self, step: int, total_steps: int, head_depths: tuple[int, ...]) -> Phase:
        """Return the same for every step: the heads that some weight is about, of which there must be one."""
        weights = dict.fromkeys(head_depths, self.early_weight) | {head_depths[-1]: self.final_weight}
        read = {depth for depth, weight in weights.items() if weight > 0 or self.self_weight > 0}
        if self.teacher is not None and self.teacher_weight > 0:
            read.add(head_depths[-1])
        if not read:
            raise ValueError(
                f"objective: expected a weight above 0 on some head at {list(head_depths)}, got early_weight="
                f"{self.early_weight}, final_weight={self.final_weight}, self_weight={self.self_weight}"
            )
        return Phase(tuple(sorted(read)), tuple(weights[depth] for depth in sorted(read)))

    def __call__(self, all_logits: Float[Tensor, "batch heads classes"], batch: Batch, phase: Phase) -> Loss:
        """Return the loss and its parts."""
        _, parts = super().__call__(all_logits, batch, phase)
        multi_label = is_multi_label(batch["labels"], all_logits.shape[2])
        if self.self_weight > 0:
            advice = losses.self_distillation(all_logits, self.temperature, multi_label)
            parts["self_distillation"] = self.self_weight * advice
        if self.teacher is not None and self.teacher_weight > 0:
            advice = losses.distillation(all_logits[:, -1], self.teacher(batch), self.temperature, multi_label)
            parts["distillation"] = self.teacher_weight * advice
        return torch.stack(list(parts.values())).sum(), parts
