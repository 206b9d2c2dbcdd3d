"""Leave when consecutive heads agree."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eat.exits.threshold import checked_threshold
from eat.ops.confidence import agreeing_heads, max_probability


class PatienceExit:
    """Leave when the last ``patience`` + 1 heads predict the same class (PABEE, Zhou et al. 2020).

    With a threshold the last head must be confident as well: EAT's variant (heads 3, 4 and last, patience 1).

    Args:
        patience: How many heads in a row must agree with the one before them, 1 or more.
        threshold: tau in [0, 1] that the last head's confidence must reach; None asks for agreement alone.
    """

    active = True
    needs_classes = True

    def __init__(self, patience: int = 1, threshold: float | None = None) -> None:
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise ValueError(f"exit.patience: expected an integer of 1 or more, got {patience!r}")
        self.patience = patience
        self.threshold = None if threshold is None else checked_threshold(threshold)

    def __call__(self, history: Float[Tensor, "heads batch classes"]) -> Bool[Tensor, " batch"]:
        """Return True where enough heads agree."""
        if history.shape[0] <= self.patience:
            return torch.zeros(history.shape[1], dtype=torch.bool, device=history.device)
        leave = agreeing_heads(history) >= self.patience
        return leave if self.threshold is None else leave & (max_probability(history[-1]) >= self.threshold)
