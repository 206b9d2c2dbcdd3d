"""Objectives: what a training minimises, and which heads and weights each step is about."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from eat.checks import shown
from eat.registry import Family, build_part
from eat.training.objectives.alternating import AlternatingObjective
from eat.training.objectives.class_weights import check_class_weights, find_class_weights
from eat.training.objectives.depth_weighted import DepthWeightedObjective
from eat.training.objectives.joint import JointObjective
from eat.training.objectives.soft_routing import SoftRoutingObjective
from eat.training.objectives.two_stage import TwoStageObjective
from eat.training.objectives.two_stage_distill import TwoStageDistillObjective
from eat.training.objectives.weighted import OF_CLASSES, Batch, Loss, Phase
from eat.training.teacher import Teacher, find_teacher

__all__ = ["OBJECTIVES", "Batch", "Objective", "Phase", "build_objective", "check_objective"]


@runtime_checkable
class Objective(Protocol):
    """Gives the loss of a batch; what changes during a training is a pure function of the step.

    Attributes:
        needs_classes: True where it reads class probabilities and so refuses a regression.
    """

    needs_classes: bool

    def restarts(self, total_steps: int) -> tuple[int, ...]:
        """Return the first step of each stage but the first: the learning-rate schedule starts anew there."""

    def phase(self, step: int, total_steps: int, head_depths: tuple[int, ...]) -> Phase:
        """Return what a step trains.

        Args:
            step: Optimiser steps taken before this one.
            total_steps: Optimiser steps of the whole training.
            head_depths: Depths of all heads of the model, the last one last.
        """

    def __call__(self, all_logits: Float[Tensor, "batch heads classes"], batch: Batch, phase: Phase) -> Loss:
        """Return the loss and its named parts, weighted as they enter it.

        Args:
            all_logits: Answers of the phase's heads, in their order.
            batch: Packed batch with ``labels``: int64 classes, float32 targets of a regression, or of a multi-label
                task (batch, classes) of 0 and 1 in float32.
            phase: What this step trains.
        """


OBJECTIVES: Family[type[Objective]] = Family(
    "eat.objectives",
    {
        "joint": JointObjective,
        "depth_weighted": DepthWeightedObjective,
        "two_stage": TwoStageObjective,
        "two_stage_distill": TwoStageDistillObjective,
        "alternating": AlternatingObjective,
        "soft_routing": SoftRoutingObjective,
    },
)


def check_objective(spec: Mapping[str, Any]) -> None:
    """Check an objective's name and arguments before there is a student; of a teacher, that its folder has a model.

    Raises:
        ValueError: If a name or a value is not possible, or there is no model.
    """
    spec = dict(spec)
    if spec.get("teacher") is not None:
        find_teacher(spec["teacher"])
        spec["teacher"] = None
    if spec.get("class_weights") is not None:
        check_class_weights(spec["class_weights"])
        spec["class_weights"] = None
    build_part("objective", OBJECTIVES, spec)


def build_objective(
    spec: Mapping[str, Any],
    *,
    tokenizer: PreTrainedTokenizerBase,
    label_names: Sequence[str],
    max_length: int,
    label_counts: Sequence[int] = (),
    num_examples: int = 0,
    multi_label: bool = False,
) -> Objective:
    """Build an objective from ``{"name": ..., **arguments}``, loading its teacher where one is named.

    ``teacher`` is the folder of a fine-tuned Hugging Face classifier, or a finished run folder. Tokenizer, classes
    (none for regression) and longest input are the student's. ``class_weights`` is "balanced", by ``label_counts``, the
    training examples of each class, or a weight by class name; in a ``multi_label`` task it is about the examples that
    have a label, out of ``num_examples``.

    Raises:
        ValueError: If a name or a value is not possible, the objective needs classes and there are none, or the teacher
            does not fit the student.
    """
    spec = dict(spec)
    if spec.get("teacher") is not None:
        spec["teacher"] = Teacher.from_folder(
            spec["teacher"],
            tokenizer=tokenizer,
            label_names=label_names,
            max_length=max_length,
            multi_label=multi_label,
        )
    if spec.get("class_weights") is not None and label_names:
        of_others = [num_examples - count for count in label_counts] if multi_label else None
        spec["class_weights"] = find_class_weights(spec["class_weights"], label_names, label_counts, of_others)
    if not label_names:
        _refuse_of_classes(spec)
    objective: Objective = build_part("objective", OBJECTIVES, spec)
    if objective.needs_classes and not label_names:
        raise ValueError(
            f"objective.name: {spec['name']!r} needs class probabilities, but the task is a regression; "
            f"expected one of {sorted(name for name, part in OBJECTIVES.items() if not part.needs_classes)}"
        )
    return objective


def _refuse_of_classes(spec: Mapping[str, Any]) -> None:
    """Refuse what is about classes for a regression, which has none."""
    for name in OF_CLASSES:
        if spec.get(name):
            off = "null" if name == "class_weights" else "0"
            raise ValueError(
                f"objective.{name}: expected {off} for a regression, which has no classes, got {shown(spec[name])}"
            )
