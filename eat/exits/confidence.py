"""Leave when the most probable class is probable enough."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from eat.exits.threshold import ThresholdExit, checked_threshold, checked_veto_margin
from eat.ops.confidence import max_probability


class ConfidenceExit(ThresholdExit):
    """Leave when max_c P(y = c) >= threshold (EAT, arXiv:2510.12856; tau in 0.80 to 0.95).

    Args:
        threshold: tau, in [0, 1]; or one per class, applied to the predicted one.
        veto_margin: See `ThresholdExit`.
    """

    def __init__(self, threshold: float | Sequence[float] = 0.9, veto_margin: float | None = None) -> None:
        self.threshold = checked_threshold(threshold)
        self.veto_margin = checked_veto_margin(veto_margin)

    def measure(self, history: Float[Tensor, "heads batch classes"]) -> Float[Tensor, " batch"]:
        """Return the last head's confidence."""
        return max_probability(history[-1])
