"""Exit criteria: which sequences exit after a head, decided from the logits seen so far.

A criterion is pure and row-wise, so the same object decides live inside the encoder and offline on cached logits.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from eat.exits.agreement import AgreementExit
from eat.exits.confidence import ConfidenceExit
from eat.exits.difference import DifferenceExit
from eat.exits.entropy import EntropyExit
from eat.exits.entropy_reduction import EntropyReductionExit
from eat.exits.margin import MarginExit
from eat.exits.never import NeverExit
from eat.exits.patience import PatienceExit
from eat.exits.patience_confidence import PatienceConfidenceExit
from eat.exits.threshold import ThresholdExit
from eat.registry import Family, build_part

__all__ = ["EXITS", "ExitCriterion", "ThresholdExit", "build_exit", "check_exit"]


@runtime_checkable
class ExitCriterion(Protocol):
    """Decide after each early head which sequences exit; at the last head all do, whatever the criterion.

    Attributes:
        active: False where no sequence ever exits early, so that early heads need not run.
        needs_classes: True where the criterion reads class probabilities and so refuses a regression head.
        needs_score: True where the criterion reads one predicted number and so refuses classes.
    """

    active: bool
    needs_classes: bool
    needs_score: bool

    def __call__(self, history: Float[Tensor, "heads batch classes"]) -> Bool[Tensor, " batch"]:
        """Return True where a sequence exits; example i's answer depends on ``history[:, i]`` only.

        Where the last head's logits are NaN no sequence exits. Of a multi-label model it is given what
        `eat.ops.confidence.sets_as_classes` makes of the heads' logits.
        """
        ...


EXITS: Family[type[Any]] = Family(
    "eat.exits",
    {
        "never": NeverExit,
        "confidence": ConfidenceExit,
        "patience": PatienceExit,
        "patience_confidence": PatienceConfidenceExit,
        "entropy": EntropyExit,
        "entropy_reduction": EntropyReductionExit,
        "margin": MarginExit,
        "agreement": AgreementExit,
        "difference": DifferenceExit,
    },
)


def check_exit(criterion: ExitCriterion, num_outputs: int, multi_label: bool = False) -> None:
    """Check that a criterion, and its thresholds, suit heads with so many outputs: the classes, or 1 for regression.

    Raises:
        ValueError: If they do not; of a multi-label model also if there is a threshold per class.
    """
    name = next((name for name, part in EXITS.items() if type(criterion) is part), type(criterion).__name__)
    if criterion.needs_classes and num_outputs < 2:
        raise ValueError(
            f"exit.name: {name!r} needs class probabilities, but the model has num_labels={num_outputs} (regression); "
            "use 'never' or 'difference'"
        )
    if criterion.needs_score and num_outputs != 1:
        raise ValueError(
            f"exit.name: {name!r} needs one predicted number (regression), but the model has num_labels={num_outputs}"
        )
    if isinstance(criterion, ThresholdExit):
        if multi_label and isinstance(criterion.threshold, tuple):
            raise ValueError(
                "exit.threshold: expected one number for a multi-label model, whose least sure label decides, got "
                f"{list(criterion.threshold)}"
            )
        criterion.bound(num_outputs)


def build_exit(spec: Mapping[str, Any]) -> ExitCriterion:
    """Build a criterion from ``{"name": ..., **arguments}``."""
    return build_part("exit", EXITS, spec)
