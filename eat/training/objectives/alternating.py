"""The final head in one step, all heads in the next."""

import dataclasses

from eat.checks import number
from eat.training.objectives.weighted import Phase, WeightedObjective


@dataclasses.dataclass(frozen=True)
class AlternatingObjective(WeightedObjective):
    """BERxiT (Xin et al. 2021): L_n in odd steps, counted from 1; L_n + lambda sum_{i<n} L_i in even ones.

    Attributes:
        early_weight: lambda, 1 in the paper.
    """

    early_weight: float

    def __post_init__(self) -> None:
        super().__post_init__()
        number("objective.early_weight", self.early_weight, above=0)

    def phase(self, step: int, total_steps: int, head_depths: tuple[int, ...]) -> Phase:
        """Return the final head alone in the first step, all heads in the second, and so on."""
        if step % 2 == 0:
            return Phase(head_depths[-1:], (1.0,))
        return Phase(head_depths, (*[self.early_weight] * (len(head_depths) - 1), 1.0))
