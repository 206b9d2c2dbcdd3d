"""Leave when the best class is well ahead of the second."""

from jaxtyping import Bool, Float
from torch import Tensor

from eat.exits.threshold import checked_threshold
from eat.ops.confidence import margin


class MarginExit:
    """Leave when the best class's probability minus the second's is >= threshold.

    Args:
        threshold: Smallest margin that may leave, in [0, 1].
    """

    active = True
    needs_classes = True

    def __init__(self, threshold: float = 0.8) -> None:
        self.threshold = checked_threshold(threshold)

    def __call__(self, history: Float[Tensor, "heads batch classes"]) -> Bool[Tensor, " batch"]:
        """Return True where the last head's margin is wide."""
        return margin(history[-1]) >= self.threshold
