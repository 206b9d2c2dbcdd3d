"""One value per example, as a row or as a column; what is neither is refused in one line."""

import numpy as np
import pytest
import torch

from eat.ops.calibration import brier_score, reliability
from eat.ops.labels import one_per_example, read_classes, read_targets
from eat.ops.losses import answer_loss, draw_answers, joint_loss, routed_cross_entropy
from eat.ops.temperature import fit_temperature
from eat.tasks.metrics import accuracy, f1, matthews, pearson, spearman

CLASSES = torch.tensor([0, 2, 1, 1])
SCORES = torch.tensor([0.5, 2.0, -1.0, 3.0])


def test_rows_and_columns_are_the_same():
    for values in (CLASSES, CLASSES[:, None]):
        assert one_per_example("labels", values, 4).tolist() == CLASSES.tolist()
        assert read_classes(values.int(), 4, 3).dtype == torch.int64
        assert read_targets(values, 4).dtype == torch.float32
    assert one_per_example("labels", torch.ones(1, 1), 1).shape == (1,)
    assert read_classes(torch.tensor([True, False]), 2, 2).tolist() == [1, 0]


@pytest.mark.parametrize("shape", [(3,), (1, 4), (4, 2), (4, 1, 1), ()])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"labels: expected one per example, of shape \(4,\) or \(4, 1\), got shape"):
        read_classes(torch.zeros(shape, dtype=torch.long), 4, 3)


@pytest.mark.parametrize("labels", [[0, 1], np.array([0, 1]), None])
def test_what_is_no_tensor_is_refused(labels):
    with pytest.raises(
        ValueError, match=r"labels: expected a tensor of one value per example, got a (list|ndarray|NoneT)"
    ):
        read_targets(labels, 2)


def test_what_labels_cannot_be():
    with pytest.raises(ValueError, match=r"labels: expected class indices in \[0, 2\), got 0 to 2"):
        read_classes(CLASSES, 4, 2)
    with pytest.raises(ValueError, match=r"integers in \[0, 3\), got dtype torch.float32"):
        read_classes(SCORES, 4, 3)
    with pytest.raises(ValueError, match="labels: expected finite numbers, got inf"):
        read_targets(SCORES / torch.tensor([1, 1, 1, 0]), 4)


def test_everything_that_takes_labels_takes_a_column():
    torch.manual_seed(0)
    logits, all_logits, column = torch.randn(4, 3), torch.randn(4, 2, 3), CLASSES[:, None]
    assert joint_loss(all_logits, column, [0.3, 1.0]) == joint_loss(all_logits, CLASSES, [0.3, 1.0])
    one = all_logits[:, :, :1]
    assert joint_loss(one, SCORES[:, None], [0.3, 1.0]) == joint_loss(one, SCORES, [0.3, 1.0])
    assert answer_loss(logits, column) == answer_loss(logits, CLASSES)
    assert routed_cross_entropy(all_logits, column) == routed_cross_entropy(all_logits, CLASSES)
    assert fit_temperature(logits, column) == fit_temperature(logits, CLASSES)
    assert brier_score(logits.softmax(1), column) == brier_score(logits.softmax(1), CLASSES)
    sure, right = torch.rand(4), torch.tensor([True, False, True, True])
    assert torch.equal(reliability(sure, right[:, None]).accuracy, reliability(sure, right).accuracy)


@pytest.mark.parametrize("metric", [accuracy, f1, matthews, pearson, spearman])
def test_metrics_take_a_column(metric):
    predicted, labels = np.array([0, 1, 1, 0, 1]), np.array([0, 1, 0, 0, 1])
    expected = metric(predicted, labels)
    assert metric(predicted, labels[:, None]) == metric(predicted[:, None], labels) == pytest.approx(expected)
    with pytest.raises(ValueError, match="predicted: expected one value for each of 5 rows"):
        metric(predicted[:4], labels)


def test_draws_are_in_expectation_the_weighted_loss():
    torch.manual_seed(0)
    all_logits = torch.randn(2, 3, 4).repeat(20_000, 1, 1)
    labels, weights = torch.tensor([1, 3]).repeat(20_000), (0.3, 0.3, 1.0)
    drawn = answer_loss(draw_answers(all_logits, weights), labels)
    torch.testing.assert_close(drawn, joint_loss(all_logits, labels, weights) / 1.6, rtol=0, atol=0.02)
