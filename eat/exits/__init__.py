"""Exit criteria: who may leave after a head, decided from the logits seen so far.

A criterion is pure and row-wise, so the same object decides live inside the encoder and offline on cached logits.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from eat.exits.confidence import ConfidenceExit
from eat.exits.entropy import EntropyExit
from eat.exits.margin import MarginExit
from eat.exits.never import NeverExit
from eat.exits.patience import PatienceExit
from eat.registry import build_part

__all__ = ["EXITS", "ExitCriterion", "build_exit"]


@runtime_checkable
class ExitCriterion(Protocol):
    """Decides after each early head; the last head takes everybody, whatever the criterion says.

    Attributes:
        active: False where nobody ever leaves early, so that early heads need not run.
        needs_classes: True where the criterion reads class probabilities and so refuses a regression head.
    """

    active: bool
    needs_classes: bool

    def __call__(self, history: Float[Tensor, "heads batch classes"]) -> Bool[Tensor, " batch"]:
        """Return True where a sequence leaves; example i's answer depends on ``history[:, i]`` only."""
        ...


EXITS = {
    "never": NeverExit,
    "confidence": ConfidenceExit,
    "patience": PatienceExit,
    "entropy": EntropyExit,
    "margin": MarginExit,
}


def build_exit(spec: Mapping[str, Any]) -> ExitCriterion:
    """Build a criterion from ``{"name": ..., **arguments}``."""
    return build_part("exit", EXITS, spec)
