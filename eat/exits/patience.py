"""Exit when consecutive heads agree: patience (PABEE)."""

import dataclasses
import math

from jaxtyping import Float
from torch import Tensor

from eat.exits.threshold import Threshold, ThresholdExit
from eat.ops.confidence import agreeing_heads, max_probability


@dataclasses.dataclass(eq=False)
class PatienceExit(ThresholdExit):
    """Exit when the last ``patience`` + 1 heads predict the same class (PABEE, Zhou et al. 2020).

    With a threshold the last head must be confident as well: EAT's variant (heads 3, 4 and last, patience 1).

    Attributes:
        patience: How many heads in a row must agree with the one before them, 1 or more.
        threshold: tau in [0, 1] that the last head's confidence must reach, or one per class; None asks for agreement
            alone.
    """

    patience: int = 1
    threshold: Threshold | None = None
    veto_margin: float | None = None

    def measure(self, history: Float[Tensor, "heads batch classes"]) -> Float[Tensor, " batch"]:
        """Return the last head's confidence where enough heads agree."""
        return max_probability(history[-1]).masked_fill(agreeing_heads(history) < self.patience, math.nan)
