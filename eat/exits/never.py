"""Never exit early: every sequence goes to the last head."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class NeverExit:
    """No early exit: the criterion that switches exits off."""

    active = False
    needs_classes = False
    needs_score = False

    def __call__(self, history: Float[Tensor, "heads batch classes"]) -> Bool[Tensor, " batch"]:
        """Return False for every sequence."""
        return torch.zeros(history.shape[1], dtype=torch.bool, device=history.device)
