"""Leave when consecutive heads say almost the same number: patience for regression."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eat.exits.threshold import ThresholdExit, checked_patience


class DifferenceExit(ThresholdExit):
    """Leave when |y_i - y_(i-1)| < threshold for the last ``patience`` heads i (PABEE's regression, Zhou et al. 2020).

    Args:
        patience: How many heads in a row must be near the one before them, 1 or more.
        threshold: What counts as near, on the scale of the label, 0 or more.
    """

    needs_classes = False
    needs_score = True

    def __init__(self, patience: int = 1, threshold: float = 0.1) -> None:
        self.patience = checked_patience(patience)
        is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
        if not is_number or not 0 <= threshold < math.inf:
            raise ValueError(f"exit.threshold: expected a number of 0 or more, got {threshold!r}")
        self.threshold = float(threshold)

    def measure(self, history: Float[Tensor, "heads batch classes"]) -> Float[Tensor, " batch"]:
        """Return the largest of the last differences; NaN while there are too few.

        Raises:
            ValueError: If the heads predict classes.
        """
        if history.shape[2] != 1:
            raise ValueError(f"exit.name: 'difference' compares one number per head, got {history.shape[2]} classes")
        values = history[-self.patience - 1 :, :, 0]
        values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
        if len(values) <= self.patience:
            return torch.full_like(values[-1], math.nan)
        return values.diff(dim=0).abs().amax(0)

    def passes(
        self, score: Float[Tensor, "*points batch"], bound: Float[Tensor, "*#points #batch"] | float
    ) -> Bool[Tensor, "*points batch"]:
        """A small difference leaves."""
        return score < bound
