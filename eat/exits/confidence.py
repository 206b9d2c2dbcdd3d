"""Exit when the most probable class reaches a confidence (EAT)."""

import dataclasses

from jaxtyping import Float
from torch import Tensor

from eat.exits.threshold import Threshold, ThresholdExit
from eat.ops.confidence import max_probability


@dataclasses.dataclass(eq=False)
class ConfidenceExit(ThresholdExit):
    """Exit when max_c P(y = c) >= threshold (EAT, arXiv:2510.12856; tau in 0.80 to 0.95).

    Attributes:
        threshold: tau, in [0, 1]; or one per class, applied to the predicted one.
    """

    threshold: Threshold = 0.9
    veto_margin: float | None = None

    published = (0.80, 0.85, 0.90, 0.95)

    def measure(self, history: Float[Tensor, "heads batch classes"]) -> Float[Tensor, " batch"]:
        """Return the last head's confidence."""
        return max_probability(history[-1])
