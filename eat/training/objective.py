"""What is minimised: the heads' joint loss, and if wanted a teacher's and the final head's advice to the early ones."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from eat.ops import losses
from eat.training.teacher import Teacher

Batch = Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True)
class JointObjective:
    """EAT's eq. 3, L = L_cls + L_distill, with optional self-distillation; squared errors for regression.

    Attributes:
        early_weight: lambda of each early head's loss.
        final_weight: lambda of the final head's loss.
        self_weight: Weight of the final head's advice to the early ones; 0 is off.
        teacher: Gives logits (batch, classes) for a batch; None is off.
        teacher_weight: mu, the weight of the teacher's advice to the final head.
        temperature: T of both kinds of advice.
    """

    early_weight: float = 0.3
    final_weight: float = 1.0
    self_weight: float = 0.0
    teacher: Callable[[Batch], Tensor] | None = None
    teacher_weight: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        for name in ("early_weight", "final_weight", "self_weight", "teacher_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"objective.{name}: expected a weight of at least 0, got {getattr(self, name)}")
        if not self.temperature > 0:
            raise ValueError(f"objective.temperature: expected a number above 0, got {self.temperature}")

    def __call__(
        self, all_logits: Float[Tensor, "batch heads classes"], batch: Batch
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the loss and its named parts, weighted as they enter it.

        Args:
            all_logits: Every head's answer, the last head last.
            batch: Packed batch with ``labels``: int64 classes, or float32 targets of a regression.
        """
        parts = {"supervised": self.supervised(all_logits, batch["labels"])}
        regression = _is_regression(batch["labels"])
        if self.self_weight > 0:
            advice = (
                losses.regression_self_distillation(all_logits)
                if regression
                else losses.self_distillation(all_logits, self.temperature)
            )
            parts["self_distillation"] = self.self_weight * advice
        if self.teacher is not None and self.teacher_weight > 0:
            final, taught = all_logits[:, -1], self.teacher(batch)
            advice = (
                losses.regression_distillation(final, taught)
                if regression
                else losses.distillation(final, taught, self.temperature)
            )
            parts["distillation"] = self.teacher_weight * advice
        return torch.stack(list(parts.values())).sum(), parts

    def supervised(self, all_logits: Float[Tensor, "batch heads classes"], labels: Tensor) -> Float[Tensor, ""]:
        """Return the heads' joint loss against the labels alone, eq. 1: what validation reports."""
        weights = all_logits.new_full((all_logits.shape[1],), self.early_weight)
        weights[-1] = self.final_weight
        joint = losses.joint_mean_squared_error if _is_regression(labels) else losses.joint_cross_entropy
        return joint(all_logits, labels, weights)


def build_objective(
    *,
    tokenizer: PreTrainedTokenizerBase,
    label_names: Sequence[str],
    max_length: int,
    early_weight: float = 0.3,
    final_weight: float = 1.0,
    self_weight: float = 0.0,
    teacher: str | Path | None = None,
    teacher_weight: float = 0.5,
    temperature: float = 2.0,
) -> JointObjective:
    """Build the objective, loading its teacher where one is named.

    Args:
        tokenizer: The student's.
        label_names: The student's classes in order; empty for regression.
        max_length: Longest input in tokens that a batch can hold.
        early_weight: See ``JointObjective``.
        final_weight: See ``JointObjective``.
        self_weight: See ``JointObjective``.
        teacher: Folder of a fine-tuned Hugging Face classifier, or a finished run folder; None for no teacher.
        teacher_weight: See ``JointObjective``.
        temperature: See ``JointObjective``.

    Raises:
        ValueError: If a value is out of range or the teacher does not fit the student.
    """
    loaded = None
    if teacher is not None:
        loaded = Teacher.from_folder(teacher, tokenizer=tokenizer, label_names=label_names, max_length=max_length)
    return JointObjective(early_weight, final_weight, self_weight, loaded, teacher_weight, temperature)


def _is_regression(labels: Tensor) -> bool:
    return labels.is_floating_point()
