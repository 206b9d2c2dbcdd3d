"""All heads at once, the deeper the heavier."""

from eat.ops.losses import depth_weights
from eat.training.objectives.weighted import Phase, WeightedObjective


class DepthWeightedObjective(WeightedObjective):
    """PABEE (Zhou et al. 2020, arXiv:2006.04152): L = sum_j j L_j / sum_j j, j the depth of each head."""

    def phase(self, step: int, total_steps: int, head_depths: tuple[int, ...]) -> Phase:
        """Return the same for every step: all heads."""
        return Phase(head_depths, depth_weights(head_depths))
