"""Which metric tells the best weights: one of those that suit the task, or the loss."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from eat.checks import one_of
from eat.ops.losses import answer_loss
from eat.tasks import TaskFacts
from eat.tasks.metrics import METRICS, suitable_metrics

LOSS = "loss"


def check_best_metric(name: Any) -> None:
    """Check the option ``best.metric`` before there are data; None stands for the task's primary metric.

    Raises:
        ValueError: If it names nothing that can be measured.
    """
    if name is not None:
        one_of("best.metric", name, [*METRICS, LOSS])


def best_metric(task: TaskFacts, name: str | None) -> str:
    """Return the metric that selects the best weights; by default the task's primary one.

    Raises:
        ValueError: If it does not suit the task.
    """
    return task.metrics[0] if name is None else one_of("best.metric", name, [*suitable_metrics(task), LOSS])


class MeanLoss(Metric):
    """Mean loss over all examples: cross-entropy in nats, or the squared error of a regression."""

    higher_is_better = False
    total: Tensor
    examples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("examples", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits (examples, classes) and labels as `joint_loss` takes them."""
        self.total += len(logits) * answer_loss(logits, labels)
        self.examples += len(logits)

    def compute(self) -> Tensor:
        """Return the mean."""
        return (self.total / self.examples).float()
