"""Leave when the distribution over classes is narrow enough."""

import dataclasses
from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from eat.exits.threshold import ThresholdExit
from eat.ops.confidence import normalised_entropy


@dataclasses.dataclass(eq=False)
class EntropyExit(ThresholdExit):
    """Leave when the normalised entropy is <= threshold (FastBERT, Liu et al. 2020; DeeBERT without the normalisation).

    Args:
        threshold: Highest entropy, divided by log(classes), that may leave, in [0, 1]; or one per class, applied to the
            predicted one.
        veto_margin: See `ThresholdExit`.
    """

    threshold: float | Sequence[float] = 0.3
    veto_margin: float | None = None

    def measure(self, history: Float[Tensor, "heads batch classes"]) -> Float[Tensor, " batch"]:
        """Return the last head's entropy."""
        return normalised_entropy(history[-1])

    def passes(
        self, score: Float[Tensor, "*points batch"], bound: Float[Tensor, "*#points #batch"] | float
    ) -> Bool[Tensor, "*points batch"]:
        """Low entropy leaves."""
        return score <= bound
