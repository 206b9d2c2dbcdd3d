"""What a step does: learns, anneals, draws the same random numbers, and stops when numbers are no longer numbers."""

import csv
from itertools import chain

import pytest
import torch
from lightning import Callback
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from eat.training.checkpoints import LAST
from eat.training.module import step_seed
from eat.training.objectives.depth_weighted import DepthWeightedObjective
from tests.training.small import SmallData, fit, make_module


class Watch(Callback):
    """Writes down what each batch saw."""

    def __init__(self):
        self.scales, self.draws, self.validated, self.examples = [], [], [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.scales.append(module.model.pruner.scale)
        self.draws.append(torch.rand(()).item())
        self.examples.append(batch["example"].tolist())

    def on_validation_batch_end(self, trainer, module, *_):
        self.validated.append((module.model.pruner.scale, module.model.training))


def logged(folder):
    with (folder / "metrics.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_a_training_overfits_anneals_and_logs(tmp_path):
    watch = Watch()
    module, checkpoints, _ = fit(tmp_path, watch, max_epochs=8, patience=8)
    assert watch.scales[:18] == pytest.approx([max(0.0, min(1.0, (step - 3) / 6)) for step in range(18)])
    assert set(watch.validated) == {(1.0, False)}
    assert module.model.training
    epochs = [list(chain(*watch.examples[start : start + 6])) for start in (0, 6, 12)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(22))] * 3
    assert epochs[0] != epochs[1] != epochs[2]
    rows = logged(tmp_path)
    assert len(rows) == 48
    assert float(rows[0]["train/retention"]) == 1.0
    assert float(rows[-1]["train/loss"]) < float(rows[0]["train/loss"]) / 4
    validated = [row for row in rows if row["val/accuracy"]]
    assert len(validated) == 8
    assert float(validated[-1]["val/accuracy"]) == 1.0
    assert float(validated[-1]["val/retention"]) < 0.8
    assert {"val/accuracy_depth_2", "val/accuracy_depth_3", "val/loss", "val/retention"} <= set(rows[0])
    # The first validation came before the final ratio held and was not counted.
    assert checkpoints.best_step >= 12


def test_it_stops_early_counting_from_the_end_of_annealing(tmp_path):
    # Nothing is learned: the first counted validation, after epoch 2, is the best, and two more do not better it.
    module, checkpoints, _ = fit(tmp_path, module=make_module(lr=0.0), max_epochs=10, patience=2)
    assert checkpoints.best_step == 12
    assert module.trainer.current_epoch == 4


def test_without_patience_the_first_validation_without_a_gain_ends_it(tmp_path):
    module, checkpoints, _ = fit(tmp_path, module=make_module(pruner="none", lr=0.0), max_epochs=4, patience=0)
    assert (checkpoints.best_step, module.trainer.global_step) == (6, 12)


def test_a_metric_that_is_no_number_is_no_best_and_does_not_stop(tmp_path):
    class FirstUnknown(MulticlassAccuracy):
        def compute(self):
            value = super().compute()
            return value * float("nan") if module.global_step == 6 else value

    module = make_module(pruner="none")
    module.metrics = MetricCollection({"accuracy": FirstUnknown(2, average="micro")})
    _, checkpoints, _ = fit(tmp_path, module=module)
    assert checkpoints.best_step in (12, 18)
    assert module.trainer.current_epoch == 3


def test_without_pruning_every_validation_counts(tmp_path):
    _, checkpoints, _ = fit(tmp_path, module=make_module(pruner="none", lr=0.0), max_epochs=2)
    assert checkpoints.best_step == 6


def test_the_same_seed_draws_the_same_and_another_does_not(tmp_path):
    draws = []
    for number, seed in enumerate((0, 0, 1)):
        watch = Watch()
        fit(tmp_path / str(number), watch, module=make_module(seed=seed), max_epochs=1)
        draws.append(watch.draws)
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]
    assert len(set(draws[0])) == len(draws[0])


def test_step_seeds_do_not_collide():
    seeds = {step_seed(seed, position, rank) for seed in range(5) for position in range(200) for rank in range(2)}
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_loss_that_is_no_number_stops_with_step_and_examples_and_keeps_the_checkpoint(tmp_path):
    class Broken(DepthWeightedObjective):
        def __call__(self, all_logits, batch, phase):
            loss, parts = super().__call__(all_logits, batch, phase)
            return (loss * float("nan") if 13 in batch["example"] else loss), parts

    # Epoch 1 meets example 13 in its third batch: after the checkpoint of step 2.
    with pytest.raises(FloatingPointError, match=r"step 2 \(epoch 1\): the loss is nan .* examples \[19, 13, 2, 0\]"):
        fit(tmp_path, module=make_module(objective=Broken()))
    kept = torch.load(tmp_path / "checkpoints" / LAST, weights_only=False)
    assert kept["global_step"] == 2
    assert all(torch.isfinite(weight).all() for weight in kept["state_dict"].values())


def test_a_gradient_that_is_no_number_stops_before_it_spoils_the_weights(tmp_path):
    class Broken(DepthWeightedObjective):
        def __call__(self, all_logits, batch, phase):
            loss, parts = super().__call__(all_logits, batch, phase)
            if 13 in batch["example"]:
                all_logits.register_hook(lambda gradient: gradient * float("inf"))
            return loss, parts

    module = make_module(objective=Broken())
    with pytest.raises(FloatingPointError, match=r"step 2 \(epoch 1\): the gradient's norm is (nan|inf)"):
        fit(tmp_path, module=module)
    assert all(torch.isfinite(weight).all() for weight in module.model.parameters())


def test_the_last_step_of_an_epoch_means_over_the_batches_that_it_has(tmp_path):
    gradients = []

    class Keep(Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            gradients.append(flat_gradient(pl_module.model))

    module = make_module(pruner="none", lr=0.0, dropout=0.0)
    data = SmallData()
    fit(tmp_path, Keep(), module=module, data=data, max_epochs=1, accumulate_grad_batches=4, gradient_clip_val=None)
    data.order.set_epoch(0)
    batches = list(map(data.collate, data.order))
    assert (len(batches), len(gradients)) == (6, 2)
    model = module.model.train()
    phase = module.objective.phase(0, 2, model.head_depths)
    for found, step in zip(gradients, (batches[:4], batches[4:]), strict=True):
        model.zero_grad()
        for batch in step:
            output = model(batch["input_ids"], lengths=batch["lengths"], trace=True)
            (module.objective(output.all_logits, batch, phase)[0] / len(step)).backward()
        torch.testing.assert_close(found, flat_gradient(model))


def flat_gradient(model):
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])


@pytest.mark.parametrize("clip", [None, 1e-6])
def test_gradients_are_clipped_to_the_norm(tmp_path, clip):
    class Norms(Callback):
        seen = None

        def on_before_zero_grad(self, trainer, module, optimizer):
            gradients = [p.grad for p in module.model.parameters() if p.grad is not None]
            if gradients:
                self.seen = torch.nn.utils.get_total_norm(gradients).item()

    norms = Norms()
    fit(tmp_path, norms, max_epochs=1, gradient_clip_val=clip)
    assert norms.seen is not None
    assert (norms.seen <= 1.01e-6) == (clip is not None)
