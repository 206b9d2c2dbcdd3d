"""Exit when the entropy of the class distribution is low (FastBERT, DeeBERT)."""

import dataclasses
import operator

from jaxtyping import Float
from torch import Tensor

from eat.exits.threshold import Threshold, ThresholdExit
from eat.ops.confidence import normalised_entropy


@dataclasses.dataclass(eq=False)
class EntropyExit(ThresholdExit):
    """Exit when the normalised entropy is <= threshold (FastBERT, Liu et al. 2020; DeeBERT without the normalisation).

    Attributes:
        threshold: Highest entropy, divided by log(classes), that may exit, in [0, 1]; or one per class, applied to the
            predicted one.
    """

    threshold: Threshold = 0.3
    veto_margin: float | None = None

    compare = staticmethod(operator.le)

    def measure(self, history: Float[Tensor, "heads batch classes"]) -> Float[Tensor, " batch"]:
        """Return the last head's entropy."""
        return normalised_entropy(history[-1])
