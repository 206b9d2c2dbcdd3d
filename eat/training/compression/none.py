"""No compression: the option that switches it off."""

import dataclasses

from torch import Tensor

from eat.models.classifier import AdaptiveForSequenceClassification


@dataclasses.dataclass(frozen=True)
class NoCompression:
    """Leaves the model as it is."""

    int8 = False

    def attach(self, model: AdaptiveForSequenceClassification) -> None:
        """Do nothing."""

    def end_step(self, total_steps: int) -> int:
        """Return 0: every validation is about the final state."""
        return 0

    def update(self, model: AdaptiveForSequenceClassification, step: int, total_steps: int) -> None:
        """Do nothing."""

    def penalty(self, model: AdaptiveForSequenceClassification) -> Tensor | None:
        """Return None."""

    def finish(self, model: AdaptiveForSequenceClassification) -> AdaptiveForSequenceClassification:
        """Return the model."""
        return model
