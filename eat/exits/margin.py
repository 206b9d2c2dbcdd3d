"""Exit when the margin between the two most probable classes is large."""

import dataclasses

from jaxtyping import Float
from torch import Tensor

from eat.exits.threshold import Threshold, ThresholdExit
from eat.ops.confidence import margin


@dataclasses.dataclass(eq=False)
class MarginExit(ThresholdExit):
    """Exit when the best class's probability minus the second's is >= threshold.

    Attributes:
        threshold: Smallest margin that may exit, in [0, 1]; or one per class, applied to the predicted one.
    """

    threshold: Threshold = 0.8
    veto_margin: float | None = None

    def measure(self, history: Float[Tensor, "heads batch classes"]) -> Float[Tensor, " batch"]:
        """Return the last head's margin."""
        return margin(history[-1])
