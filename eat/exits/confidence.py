"""Leave when the most probable class is probable enough."""

from jaxtyping import Bool, Float
from torch import Tensor

from eat.exits.threshold import checked_threshold
from eat.ops.confidence import max_probability


class ConfidenceExit:
    """Leave when max_c P(y = c) >= threshold (EAT, arXiv:2510.12856; tau in 0.80 to 0.95).

    Args:
        threshold: tau, in [0, 1].
    """

    active = True
    needs_classes = True

    def __init__(self, threshold: float = 0.9) -> None:
        self.threshold = checked_threshold(threshold)

    def __call__(self, history: Float[Tensor, "heads batch classes"]) -> Bool[Tensor, " batch"]:
        """Return True where the last head is confident."""
        return max_probability(history[-1]) >= self.threshold
