"""Schedules of the pruning ratio and of the learning rate: pure functions of the global step."""

import bisect
import dataclasses
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from eat.checks import number


@dataclasses.dataclass(frozen=True)
class PruningSchedule:
    """How much of the pruning ratio holds at each step, EAT's Algorithm 2: nothing in epoch 1, then linear growth.

    The paper anneals over epochs 2 and 3; here the scale grows with every optimiser step, not by a jump at each epoch.
    """

    warmup_epochs: float  # epochs without pruning
    anneal_epochs: float  # epochs over which the ratio grows from 0 to its final value; 0 jumps there

    def __post_init__(self) -> None:
        for name in ("warmup_epochs", "anneal_epochs"):
            number(f"schedule.{name}", getattr(self, name), at_least=0)

    @property
    def epochs(self) -> float:
        """Epochs until the final ratio holds."""
        return self.warmup_epochs + self.anneal_epochs

    def shrunk_to(self, epochs: float) -> "PruningSchedule":
        """Return the schedule of a training of so many epochs, above 0: itself or the same parts of a shorter whole."""
        if number("epochs", epochs, above=0) >= self.epochs:
            return self
        part = epochs / self.epochs
        return PruningSchedule(self.warmup_epochs * part, self.anneal_epochs * part)

    def scale_at(self, step: int, steps_per_epoch: int) -> float:
        """Return the factor on the pruning ratio, in [0, 1], once so many optimiser steps were taken."""
        start, end = self.warmup_epochs * steps_per_epoch, self.end_step(steps_per_epoch)
        if step >= end:
            return 1.0
        return max(0.0, (step - start) / (end - start)) if end > start else 0.0

    def end_step(self, steps_per_epoch: int) -> int:
        """Return the first step at which the final ratio holds; what is measured earlier is another model."""
        # Rounded: shrinking multiplies by a fraction, and 2.9999999 steps must end a training of 3.
        return round(self.epochs * steps_per_epoch)


def linear_warmup_decay(
    optimizer: Optimizer, total_steps: int, warmup_ratio: float, restarts: Sequence[int] = ()
) -> LambdaLR:
    """Raise the learning rate linearly from 0 to its value, then lower it linearly to 0 at the last step.

    Args:
        optimizer: Its groups' learning rates are the peak.
        total_steps: Optimiser steps of the whole training.
        warmup_ratio: Part of the training that the rise takes, in [0, 1).
        restarts: Steps, ascending, at which another stage starts; each stage has its own rise and fall.
    """
    number("scheduler.warmup_ratio", warmup_ratio, at_least=0, below=1)
    starts, ends = (0, *restarts), (*restarts, total_steps)

    def factor(step: int) -> float:
        stage = bisect.bisect_right(starts, step) - 1
        done, steps = step - starts[stage], ends[stage] - starts[stage]
        warmup_steps = round(warmup_ratio * steps)
        # The first step of a warm-up has the rate 1 / warmup_steps, not 0: it would be wasted.
        rise = (done + 1) / warmup_steps if warmup_steps else 1.0
        return min(rise, max(0.0, (steps - done) / max(1, steps - warmup_steps)))

    return LambdaLR(optimizer, factor)
