"""Exit when a head hardly reduced the entropy (BEExformer)."""

import dataclasses
import math
import operator

import torch
from jaxtyping import Float
from torch import Tensor

from eat.exits.threshold import Threshold, ThresholdExit
from eat.ops.confidence import normalised_entropy


@dataclasses.dataclass(eq=False)
class EntropyReductionExit(ThresholdExit):
    """Exit when (H_before - H_last) / H_before < threshold (BEExformer, Ansar et al. 2024, arXiv:2412.05225).

    H is the entropy of a head's distribution over classes; its normalisation cancels out. The first head has none
    before it, so no sequence exits there. Entropy that grew is a reduction below 0, and that of a head which was
    certain already (H = 0, and still is) is 0: both exit.

    Attributes:
        threshold: Part of the entropy that a head must remove to go on, in [0, 1]; or one per class, applied to the
            predicted one.
    """

    threshold: Threshold = 0.05
    veto_margin: float | None = None

    compare = staticmethod(operator.lt)

    def measure(self, history: Float[Tensor, "heads batch classes"]) -> Float[Tensor, " batch"]:
        """Return the fractional reduction; NaN after the first head."""
        entropy = normalised_entropy(history[-2:])
        if len(entropy) < 2:
            return torch.full_like(entropy[-1], math.nan)
        before, last = entropy
        return ((before - last) / before).masked_fill((before == 0) & (last == 0), 0.0)
