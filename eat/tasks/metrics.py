"""Metrics of a task: running ones for training (torchmetrics), and plain functions of arrays for replayed logits.

Running ones take logits (examples, classes), for regression (examples, 1); plain ones, which agree with scikit-learn
and SciPy, what was predicted. Both take labels; of a multi-label task labels and predictions are (examples, labels) of
0 and 1. A share that has nothing to count is 0, a correlation with a constant is NaN.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from torchmetrics import Metric, MetricCollection, PearsonCorrCoef, SpearmanCorrCoef
from torchmetrics.classification import (
    BinaryF1Score,
    BinaryRecall,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MultilabelAccuracy,
    MultilabelExactMatch,
    MultilabelF1Score,
)
from torchmetrics.wrappers import LambdaInputTransformer

from eat.tasks import TaskFacts
from eat.tasks.clinc150 import OUT_OF_SCOPE


@dataclass(frozen=True)
class TaskMetric:
    """One metric in its two forms."""

    running: Callable[[TaskFacts], Metric]  # builds the torchmetrics form for a task, updated with logits and labels
    value: Callable[[np.ndarray, np.ndarray, TaskFacts], float]  # of predicted classes or scores, labels and the task
    suits: Callable[[TaskFacts], bool]  # whether it is defined for a task


def suitable_metrics(task: TaskFacts) -> list[str]:
    """Name the metrics that are defined for a task, its own first."""
    return list(dict.fromkeys([*task.metrics, *(name for name, metric in METRICS.items() if metric.suits(task))]))


def build_metrics(task: TaskFacts, *more: str) -> MetricCollection:
    """Build the task's running metrics and further ones, by name, in torchmetrics's own order.

    They are updated with logits and labels.
    """
    metrics = {name: METRICS[name].running(task) for name in dict.fromkeys([*task.metrics, *more])}
    # Groups of metrics with equal states would be formed from wrappers, which have none.
    return MetricCollection(metrics, compute_groups=False)  # type: ignore[arg-type]


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Share of right answers."""
    predicted, labels = _one_each(predicted, labels)
    return float((predicted == labels).mean()) if len(labels) else 0.0


def f1(predicted: np.ndarray, labels: np.ndarray, positive: int = 1) -> float:
    """Harmonic mean of the precision and recall of one class."""
    predicted, labels = _one_each(predicted, labels)
    hits = int(((predicted == positive) & (labels == positive)).sum())
    named = int((predicted == positive).sum()) + int((labels == positive).sum())
    return 2 * hits / named if named else 0.0


def macro_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Mean of F1 over the classes that were predicted or true."""
    classes = np.union1d(predicted, labels).tolist()
    return float(np.mean([f1(predicted, labels, positive) for positive in classes]))


def micro_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    """F1 of all labels of all examples together, in a multi-label task."""
    return f1(predicted.reshape(-1), labels.reshape(-1))


def mean_label_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Mean of F1 over all labels, in a multi-label task."""
    return float(np.mean([f1(said, truth) for said, truth in zip(predicted.T, labels.T, strict=True)]))


def subset_accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Share of examples all of whose labels are right, in a multi-label task."""
    return accuracy((predicted == labels).all(axis=1), np.ones(len(labels), dtype=bool))


def label_accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Share of labels, over all examples, that are right, in a multi-label task."""
    return accuracy(predicted.reshape(-1), labels.reshape(-1))


def matthews(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Matthews' correlation over any number of classes (Gorodkin 2004), 0 where all predicted or all true are one."""
    predicted, labels = _one_each(predicted, labels)
    size = 1 + int(max(predicted.max(), labels.max()))
    times_predicted, times_true = (np.bincount(each, minlength=size) for each in (predicted, labels))
    return _matthews(times_predicted, times_true, float((predicted == labels).sum()))


class RunningMatthews(MulticlassConfusionMatrix):
    """`matthews` of all batches; torchmetrics' own (1.9) names other values where all predicted or true are one."""

    higher_is_better = True

    def compute(self) -> Tensor:
        """Return the correlation."""
        counts = super().compute().double().cpu().numpy()  # rows are true, columns predicted
        return torch.tensor(_matthews(counts.sum(0), counts.sum(1), float(counts.trace())))


def _matthews(times_predicted: np.ndarray, times_true: np.ndarray, right: float) -> float:
    times_predicted, times_true = times_predicted.astype(np.float64), times_true.astype(np.float64)
    total = times_true.sum()
    spread = (total**2 - times_predicted @ times_predicted) * (total**2 - times_true @ times_true)
    return float((right * total - times_predicted @ times_true) / math.sqrt(spread)) if spread > 0 else 0.0


def pearson(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Pearson's correlation; NaN where either side is constant."""
    predicted, labels = _one_each(predicted, labels)
    one, other = predicted.astype(np.float64), labels.astype(np.float64)
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(np.corrcoef(one, other)[0, 1])


def spearman(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Spearman's correlation: Pearson's of the ranks, equal values sharing their mean rank."""
    predicted, labels = _one_each(predicted, labels)
    return pearson(rankdata(predicted), rankdata(labels))


def _one_each(predicted: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both as (n,), given so or as a column (n, 1); anything else would be compared each with each."""
    for name, values in (("predicted", predicted), ("labels", labels)):
        if values.shape not in ((len(labels),), (len(labels), 1)):
            raise ValueError(f"{name}: expected one value for each of {len(labels)} rows, got shape {values.shape}")
    return predicted.reshape(-1), labels.reshape(-1)


def _value(function: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[np.ndarray, np.ndarray, TaskFacts], float]:
    return lambda predicted, labels, task: function(predicted, labels)


def _accuracy_where(predicted: np.ndarray, labels: np.ndarray, task: TaskFacts, in_scope: bool) -> float:
    chosen = (labels != task.label_names.index(OUT_OF_SCOPE)) == in_scope
    return accuracy(predicted[chosen], labels[chosen])


def _predicted_is(logits: Tensor, label: int) -> Tensor:
    return logits.argmax(dim=-1) == label


def _score(logits: Tensor) -> Tensor:
    return logits.squeeze(-1).double()


def _running_f1(task: TaskFacts) -> Metric:
    if task.num_labels != 2:
        raise ValueError(f"f1 is that of the second of two classes, {task.name} has {task.num_labels}: use macro_f1")
    return LambdaInputTransformer(BinaryF1Score(), partial(torch.argmax, dim=-1))


def _running_oos_recall(task: TaskFacts) -> Metric:
    oos = task.label_names.index(OUT_OF_SCOPE)
    return LambdaInputTransformer(BinaryRecall(), partial(_predicted_is, label=oos), partial(torch.eq, other=oos))


def _running_in_scope_accuracy(task: TaskFacts) -> Metric:
    return MulticlassAccuracy(task.num_labels, average="micro", ignore_index=task.label_names.index(OUT_OF_SCOPE))


def _named(logits: Tensor) -> Tensor:
    return (logits > 0).long()


def _of_sets(metric: Metric) -> Metric:
    """Hand a metric what is predicted in place of logits, which torchmetrics would take for probabilities if it can."""
    return LambdaInputTransformer(metric, _named, torch.Tensor.long)


def _macro_f1(predicted: np.ndarray, labels: np.ndarray, task: TaskFacts) -> float:
    return (mean_label_f1 if _has_labels(task) else macro_f1)(predicted, labels)


def _running_macro_f1(task: TaskFacts) -> Metric:
    if _has_labels(task):
        return _of_sets(MultilabelF1Score(task.num_labels, average="macro"))
    return MulticlassF1Score(task.num_labels, average="macro")


def _has_labels(task: TaskFacts) -> bool:
    return task.kind == "multi_label"


def _has_classes(task: TaskFacts) -> bool:
    return task.kind == "classification"


def _has_two_classes(task: TaskFacts) -> bool:
    return _has_classes(task) and task.num_labels == 2


def _has_scores(task: TaskFacts) -> bool:
    return task.kind == "regression"


def _has_scope(task: TaskFacts) -> bool:
    return OUT_OF_SCOPE in task.label_names


METRICS: Mapping[str, TaskMetric] = {
    "accuracy": TaskMetric(
        lambda task: MulticlassAccuracy(task.num_labels, average="micro"), _value(accuracy), _has_classes
    ),
    "f1": TaskMetric(_running_f1, _value(f1), _has_two_classes),
    "macro_f1": TaskMetric(_running_macro_f1, _macro_f1, lambda task: not _has_scores(task)),
    "micro_f1": TaskMetric(
        lambda task: _of_sets(MultilabelF1Score(task.num_labels, average="micro")), _value(micro_f1), _has_labels
    ),
    "subset_accuracy": TaskMetric(
        lambda task: _of_sets(MultilabelExactMatch(task.num_labels)), _value(subset_accuracy), _has_labels
    ),
    "label_accuracy": TaskMetric(
        lambda task: _of_sets(MultilabelAccuracy(task.num_labels, average="micro")), _value(label_accuracy), _has_labels
    ),
    "matthews": TaskMetric(lambda task: RunningMatthews(task.num_labels), _value(matthews), _has_classes),
    "pearson": TaskMetric(lambda task: LambdaInputTransformer(PearsonCorrCoef(), _score), _value(pearson), _has_scores),
    "spearman": TaskMetric(
        lambda task: LambdaInputTransformer(SpearmanCorrCoef(), _score), _value(spearman), _has_scores
    ),
    "in_scope_accuracy": TaskMetric(_running_in_scope_accuracy, partial(_accuracy_where, in_scope=True), _has_scope),
    "oos_recall": TaskMetric(_running_oos_recall, partial(_accuracy_where, in_scope=False), _has_scope),
}
