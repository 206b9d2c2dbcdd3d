"""Exit when consecutive heads are all confident (PCEE-BERT)."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from eat.exits.threshold import Threshold, ThresholdExit
from eat.ops.confidence import max_probability


@dataclasses.dataclass(eq=False)
class PatienceConfidenceExit(ThresholdExit):
    """Exit when the last ``patience`` heads are all confident (PCEE-BERT, Zhang et al. 2022).

    PCEE-BERT counts heads in a row whose confidence reaches a bound, starts again at one that is not confident, and
    exits when the count reaches the patience; heads need not agree. That is: the least of the last ``patience``
    confidences is >= threshold. It measures confidence by entropy, we by max_c P(y = c), as the other criteria do.
    With patience 1 this is `ConfidenceExit`.

    Attributes:
        patience: How many heads in a row must be confident, 1 or more.
        threshold: Smallest confidence, in [0, 1]; or one per class, that of the class which the last head predicts.
    """

    patience: int = 2
    threshold: Threshold = 0.8
    veto_margin: float | None = None

    def measure(self, history: Float[Tensor, "heads batch classes"]) -> Float[Tensor, " batch"]:
        """Return the least confidence of the last heads; NaN while there are too few."""
        last = max_probability(history[-self.patience :])
        return last.amin(0) if len(last) == self.patience else torch.full_like(last[-1], math.nan)
