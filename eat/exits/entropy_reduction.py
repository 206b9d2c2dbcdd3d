"""Exit when a head hardly reduced the entropy (BEExformer)."""

import dataclasses
import math
import operator

import torch
from jaxtyping import Float
from torch import Tensor

from eat.exits.threshold import Threshold, ThresholdExit
from eat.ops.confidence import normalised_entropy

ROUNDING = 1e-6
"""Part of an entropy up to which a difference is taken for rounding, some 1e-7 of it in float32."""


@dataclasses.dataclass(eq=False)
class EntropyReductionExit(ThresholdExit):
    """Exit when (H_before - H_last) / H_before < threshold (BEExformer, Ansar et al. 2024, arXiv:2412.05225).

    H is the entropy of a head's distribution over classes; its normalisation cancels out. The first head has none
    before it, so no sequence exits there. Entropy that grew is a reduction below 0, and that of a head which was
    certain already (H = 0, and still is) is 0: both exit. Entropies that are equal but for rounding, as those of heads
    that are nearly uniform, are a reduction of 0 as well, else rounding would decide at a threshold of 0.

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
        difference = before - last
        return (difference / before).masked_fill(difference.abs() <= ROUNDING * before, 0.0)
