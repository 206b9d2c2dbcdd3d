"""Exit when consecutive heads predict almost the same number: patience for regression."""

import dataclasses
import math
import operator

import torch
from jaxtyping import Float
from torch import Tensor

from eat.checks import number
from eat.exits.threshold import ThresholdExit
from eat.ops.precision import at_least_float32


@dataclasses.dataclass(eq=False)
class DifferenceExit(ThresholdExit):
    """Exit when |y_i - y_(i-1)| < threshold for the last ``patience`` heads i (PABEE's regression, Zhou et al. 2020).

    Attributes:
        patience: How many heads in a row must be near the one before them, 1 or more.
        threshold: What counts as near, on the scale of the label, 0 or more.
    """

    patience: int = 1
    threshold: float = 0.1

    needs_classes = False  # unannotated: no field
    needs_score = True
    compare = staticmethod(operator.lt)

    def checked_threshold(self) -> float:
        """Return the threshold: no probability, so of any size."""
        return number("exit.threshold", self.threshold, at_least=0)

    def measure(self, history: Float[Tensor, "heads batch classes"]) -> Float[Tensor, " batch"]:
        """Return the largest of the last differences; NaN while there are too few."""
        if history.shape[2] != 1:
            raise ValueError(f"exit.name: 'difference' compares one number per head, got {history.shape[2]} classes")
        values = at_least_float32(history[-self.patience - 1 :, :, 0])
        if len(values) <= self.patience:
            return torch.full_like(values[-1], math.nan)
        return values.diff(dim=0).abs().amax(0)
