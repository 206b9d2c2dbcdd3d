"""Exit when the weighted confidence of agreeing heads is high (BEEM)."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from eat.exits.threshold import Threshold, ThresholdExit
from eat.ops.confidence import max_probability


@dataclasses.dataclass(eq=False)
class AgreementExit(ThresholdExit):
    """Exit when the weighted confidence of the heads that agree is high, in the manner of BEEM (arXiv:2502.00745).

    BEEM (Bajpai and Hanawal 2025) takes heads as experts: S_i = w_i C_i + S_(i-1) where head i predicts what head i - 1
    predicted, else S_i = w_i C_i; exit when S_i >= threshold. C_i is head i's confidence; its weights by cost grow in
    proportion to the head's place, w_i = i. We divide S_i by w_1 + ... + w_i, so that a threshold in [0, 1] means the
    same after any head: 1 is reached where all heads agree and are certain.

    Attributes:
        threshold: Smallest part of the votes, in [0, 1]; or one per class, applied to the predicted one.
    """

    threshold: Threshold = 0.8
    veto_margin: float | None = None

    def measure(self, history: Float[Tensor, "heads batch classes"]) -> Float[Tensor, " batch"]:
        """Return the part of the votes so far that the predicted class has."""
        confidence, predicted = max_probability(history), history.argmax(-1)
        total = confidence[0]
        for i in range(1, len(history)):
            votes = (i + 1) * confidence[i]
            total = torch.where(predicted[i] == predicted[i - 1], votes + total, votes)
        return total / (len(history) * (len(history) + 1) // 2)
