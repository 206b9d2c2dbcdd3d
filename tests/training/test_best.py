"""The metric that selects: which ones suit a task, the loss beside scikit-learn's, and the weights that it keeps."""

import csv
import logging
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, mean_squared_error

from eat.tasks import build_task
from eat.training.best import MeanLoss, best_metric, check_best_metric
from eat.training.checkpoints import load_best
from tests.training.small import fit, make_module


@pytest.mark.parametrize("batch", [1, 7, 40])
def test_the_loss_is_the_mean_over_examples_whatever_the_batches(batch):
    rng = np.random.default_rng(batch)
    logits, classes = rng.normal(size=(40, 3)), rng.integers(3, size=40)
    scores, targets = rng.normal(size=(40, 1)), rng.normal(size=40)
    losses = MeanLoss(), MeanLoss()
    for start in range(0, 40, batch):
        part = slice(start, start + batch)
        losses[0].update(torch.from_numpy(logits[part]), torch.from_numpy(classes[part]))
        losses[1].update(torch.from_numpy(scores[part]), torch.from_numpy(targets[part]))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert float(losses[0].compute()) == pytest.approx(log_loss(classes, probabilities), rel=1e-5)
    assert float(losses[1].compute()) == pytest.approx(mean_squared_error(targets, scores[:, 0]), rel=1e-5)


def test_every_metric_that_suits_a_task_can_select():
    sst2, mnli, stsb = (build_task({"name": name}) for name in ("sst2", "mnli", "stsb"))
    assert [best_metric(task, None) for task in (sst2, mnli, stsb)] == ["accuracy", "accuracy", "pearson"]
    assert [best_metric(sst2, name) for name in ("f1", "macro_f1", "matthews", "loss")][-1] == "loss"
    assert best_metric(build_task({"name": "clinc150"}), "oos_recall") == "oos_recall"
    with pytest.raises(ValueError, match=r"^best.metric: expected one of \['accuracy', 'loss', .*\], got 'f1'"):
        best_metric(mnli, "f1")
    with pytest.raises(ValueError, match=r"^best.metric: expected one of \['loss', 'pearson', 'spearman'\], got 'acc"):
        best_metric(stsb, "accuracy")
    with pytest.raises(ValueError, match=r"got 'mathews' \(did you mean 'matthews'\?\)"):
        check_best_metric("mathews")


@pytest.mark.parametrize(("best", "pick"), [("accuracy", max), ("loss", min)])
def test_the_best_value_is_kept(tmp_path, best, pick):
    module, checkpoints, _ = fit(tmp_path, module=make_module(pruner="none", best=best), max_epochs=4)
    with (tmp_path / "metrics.csv").open(newline="") as handle:
        values = {int(row["step"]) + 1: float(row[f"val/{best}"]) for row in csv.DictReader(handle) if row["val/loss"]}
    assert checkpoints.best_score == pytest.approx(pick(values.values()), abs=1e-6)
    outcome = load_best(module.trainer)
    assert (outcome.metric, outcome.steps, outcome.epochs) == (best, 24, 4)
    assert values[outcome.best_step] == pytest.approx(outcome.best_value, abs=1e-6)
    assert outcome.stopped_early is None


@pytest.mark.parametrize("best", ["accuracy", "loss"])
def test_an_early_end_says_why_and_says_it_again_when_resumed(tmp_path, caplog, best):
    caplog.set_level(logging.INFO)
    options = {"max_epochs": 9, "patience": 2}
    module, _, stopping = fit(tmp_path, module=make_module(pruner="none", lr=0.0, best=best), **options)
    assert module.trainer.current_epoch == 3
    said = f"stopped early: the last 2 validations did not better val/{best} {float(stopping.best_score):.4f}"
    assert caplog.text.count(said) == 1 and load_best(module.trainer).stopped_early.startswith(said)
    assert math.isfinite(stopping.best_score)
    again, _, _ = fit(tmp_path, module=make_module(pruner="none", lr=0.0, best=best), **options)
    assert load_best(again.trainer).stopped_early.startswith(said)


def test_without_patience_it_never_stops_early(tmp_path):
    module, _, _ = fit(tmp_path, module=make_module(pruner="none", lr=0.0), max_epochs=6, patience=None)
    assert module.trainer.current_epoch == 6
    assert load_best(module.trainer).stopped_early is None
