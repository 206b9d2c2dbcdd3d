"""Both forms of every metric beside scikit-learn's and SciPy's, over whole and batched input."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from eat.tasks import TASKS, TaskFacts, build_task
from eat.tasks.metrics import METRICS, build_metrics, matthews, pearson, suitable_metrics
from eat.tasks.public import PublicTask
from eat.traces.trace import RecordedTask


def task(num_labels: int, *metrics: str) -> PublicTask:
    names = (*(f"class {i}" for i in range(num_labels - 1)), "oos")
    built = build_task({"name": "sst2" if num_labels > 1 else "stsb"})
    assert isinstance(built, PublicTask)
    return replace(built, label_names=names if num_labels > 1 else (), metrics=metrics)


def plain(of: PublicTask, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    predicted = logits.argmax(1) if of.label_names else logits[:, 0].astype(np.float64)
    return {name: METRICS[name].value(predicted, labels, of) for name in of.metrics}


def running(of: TaskFacts, logits: np.ndarray, labels: np.ndarray, batch: int) -> dict[str, float]:
    metrics = build_metrics(of)
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        metrics.update(torch.from_numpy(logits[part]), torch.from_numpy(labels[part]))
    return {name: float(value) for name, value in metrics.compute().items()}


@given(seed=st.integers(0, 10**6), num_labels=st.integers(2, 5), num_rows=st.integers(2, 60), batch=st.integers(10, 40))
def test_classification_agrees_with_scikit_learn(seed: int, num_labels: int, num_rows: int, batch: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(num_rows, num_labels)), rng.integers(num_labels, size=num_rows)
    labels[:num_labels] = np.arange(num_labels)[:num_rows]  # torchmetrics names another value where one class is alone
    predicted, inside = logits.argmax(1), labels != num_labels - 1
    expected = {
        "accuracy": reference.accuracy_score(labels, predicted),
        "macro_f1": reference.f1_score(labels, predicted, average="macro"),
        "matthews": reference.matthews_corrcoef(labels, predicted),
        "in_scope_accuracy": (predicted[inside] == labels[inside]).mean(),
        "oos_recall": (predicted[~inside] == labels[~inside]).mean() if (~inside).any() else 0.0,
    }
    if num_labels == 2:
        expected["f1"] = reference.f1_score(labels, predicted, zero_division=0)
    of = task(num_labels, *expected)
    assert plain(of, logits, labels) == pytest.approx(expected, abs=1e-12)
    if len(set(predicted)) > 1:
        assert running(of, logits, labels, batch) == pytest.approx(expected, abs=1e-5)


@given(seed=st.integers(0, 10**6), num_rows=st.integers(5, 60), batch=st.integers(10, 40))
def test_regression_agrees_with_scipy(seed: int, num_rows: int, batch: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(6, size=num_rows).astype(np.float32)  # ties, as in STS-B
    scores[:2] = 0, 5
    logits = (scores + rng.normal(size=num_rows).round(1))[:, None].astype(np.float32)
    expected = {
        "pearson": stats.pearsonr(logits[:, 0], scores).statistic,
        "spearman": stats.spearmanr(logits[:, 0], scores).statistic,
    }
    of = task(1, *expected)
    assert plain(of, logits, scores) == pytest.approx(expected, abs=1e-6)
    assert running(of, logits, scores, batch) == pytest.approx(expected, abs=1e-5)


def test_running_metrics_start_anew_after_reset() -> None:
    metrics = build_metrics(task(2, "accuracy", "f1"))
    right, wrong = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    metrics.update(wrong, torch.tensor([1]))
    metrics.reset()
    metrics.update(right, torch.tensor([1]))
    assert {name: float(value) for name, value in metrics.compute().items()} == {"accuracy": 1.0, "f1": 1.0}


def test_where_nothing_is_to_be_measured() -> None:
    constant, labels = np.zeros(4, dtype=np.int64), np.array([0, 1, 0, 1])
    assert matthews(constant, labels) == reference.matthews_corrcoef(labels, constant) == 0.0
    assert math.isnan(pearson(constant, labels))
    of = task(3, "in_scope_accuracy", "oos_recall")
    assert plain(of, np.eye(3)[[0]], np.array([0])) == {"in_scope_accuracy": 1.0, "oos_recall": 0.0}


@pytest.mark.parametrize("num_labels", [2, 3])
def test_running_matthews_is_0_where_all_predicted_or_all_true_are_one(num_labels: int) -> None:
    of = task(num_labels, "matthews")
    mixed, ones = np.array([0, 0, 0, 0, 1, 1]), np.ones(6, dtype=np.int64)
    for predicted, labels in ((0 * ones, mixed), (ones, mixed), (mixed, ones), (ones, ones), (0 * ones, ones)):
        assert running(of, np.eye(num_labels)[predicted], labels, batch=4) == {"matthews": 0.0}
        assert matthews(predicted, labels) == 0.0


def test_f1_is_for_two_classes() -> None:
    with pytest.raises(ValueError, match=r"f1 is that of the second of two classes, sst2 has 3: use macro_f1"):
        build_metrics(task(3, "f1"))


@pytest.mark.parametrize("name", sorted(set(TASKS) - {"file"}))
def test_every_task_has_its_metrics(name: str) -> None:
    built = build_task({"name": name})
    assert set(built.metrics) <= set(METRICS)
    assert set(build_metrics(built)) == set(built.metrics)


@given(seed=st.integers(0, 10**6), num_labels=st.integers(2, 5), num_rows=st.integers(1, 60), batch=st.integers(10, 40))
def test_several_labels_agree_with_scikit_learn(seed: int, num_labels: int, num_rows: int, batch: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(num_rows, num_labels)), rng.integers(2, size=(num_rows, num_labels))
    logits = np.abs(logits) if seed % 2 else logits  # which torchmetrics could take for probabilities
    predicted = (logits > 0).astype(int)
    expected = {
        "micro_f1": reference.f1_score(labels, predicted, average="micro", zero_division=0),
        "macro_f1": reference.f1_score(labels, predicted, average="macro", zero_division=0),
        "subset_accuracy": reference.accuracy_score(labels, predicted),
        "label_accuracy": 1 - reference.hamming_loss(labels, predicted),
    }
    names = tuple(f"label {i}" for i in range(num_labels))
    of = RecordedTask("made_up", "multi_label", names, tuple(expected), num_labels)
    assert suitable_metrics(of) == list(expected)
    assert {name: METRICS[name].value(predicted, labels, of) for name in expected} == pytest.approx(expected)
    assert running(of, logits, labels.astype(np.float32), batch) == pytest.approx(expected, abs=1e-5)
