"""Leave when the distribution over classes is narrow enough."""

from jaxtyping import Bool, Float
from torch import Tensor

from eat.exits.threshold import checked_threshold
from eat.ops.confidence import normalised_entropy


class EntropyExit:
    """Leave when the normalised entropy is <= threshold (FastBERT, Liu et al. 2020; DeeBERT without the normalisation).

    Args:
        threshold: Highest entropy, divided by log(classes), that may leave, in [0, 1].
    """

    active = True
    needs_classes = True

    def __init__(self, threshold: float = 0.3) -> None:
        self.threshold = checked_threshold(threshold)

    def __call__(self, history: Float[Tensor, "heads batch classes"]) -> Bool[Tensor, " batch"]:
        """Return True where the last head's entropy is low."""
        return normalised_entropy(history[-1]) <= self.threshold
