"""First the encoder with its final head, then the early heads on the frozen encoder, by the labels."""

import dataclasses

from eat.checks import number
from eat.training.objectives.weighted import Phase, WeightedObjective


@dataclasses.dataclass(frozen=True)
class TwoStageObjective(WeightedObjective):
    """DeeBERT (Xin et al. 2020, arXiv:2004.12993): L_n first; then sum_{i<n} L_i, all but the early heads frozen.

    The frozen encoder runs without dropout, up to the last early head. The learning-rate schedule starts anew with the
    second stage, at the same peak.

    Attributes:
        stage: The first stage's part of all steps, between 0 and 1.
    """

    stage: float

    def __post_init__(self) -> None:
        super().__post_init__()
        number("objective.stage", self.stage, above=0, below=1)

    def restarts(self, total_steps: int) -> tuple[int, ...]:
        """Return the first step on the frozen encoder; each stage has a step wherever there are two."""
        return (max(1, min(round(self.stage * total_steps), total_steps - 1)),)

    def phase(self, step: int, total_steps: int, head_depths: tuple[int, ...]) -> Phase:
        """Return the final head alone, then the early ones, of which there must be one."""
        early = head_depths[:-1]
        if not early:
            raise ValueError(
                "head_depths: an objective of two stages trains early heads in the second, expected at least one depth "
                f"before the last, got {list(head_depths)}"
            )
        if step < self.restarts(total_steps)[0]:
            return Phase(head_depths[-1:], (1.0,))
        return self.frozen_phase(head_depths)

    def frozen_phase(self, head_depths: tuple[int, ...]) -> Phase:
        """Return the second stage: the early heads."""
        return Phase(head_depths[:-1], (1.0,) * (len(head_depths) - 1), frozen=True)
