"""What objectives with phases do to a training: what runs, what learns, what is frozen to the last bit."""

import itertools
from collections import Counter

import pytest
import torch
from lightning import Callback

from eat.training.objectives.depth_weighted import DepthWeightedObjective
from eat.training.objectives.soft_routing import SoftRoutingObjective
from tests.training.made import make_objective
from tests.training.small import fit, make_module

# 18 steps: the second stage starts at step 9.
STAGED = [make_objective("two_stage"), make_objective("two_stage_distill")]
EARLY = "encoder.heads.2."


def weights_of(module):
    return {name: parameter.detach().clone() for name, parameter in module.model.named_parameters()}


class Watch(Callback):
    """Writes down per training step what ran, with what dropout, and the weights, rate and pruning scale after it."""

    def __init__(self):
        self.ran, self.modes, self.weights, self.rates, self.scales, self.graphs = [], [], [], [], [], []
        self.losses = []
        self.now = Counter()

    def on_fit_start(self, trainer, module):
        self.start = weights_of(module)
        encoder = module.model.encoder
        parts = {f"block {i}": block for i, block in enumerate(encoder.blocks, start=1)}
        parts |= {f"head {depth}": head for depth, head in encoder.heads.items()}
        for name, part in parts.items():
            part.register_forward_hook(lambda *_, name=name: self.now.update([name]))
        encoder.blocks[0].register_forward_hook(lambda *call: self.graphs.append(call[-1].rows.requires_grad))

    def on_train_batch_start(self, *_):
        self.now.clear()
        self.graphs.clear()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        encoder = module.model.encoder
        self.ran.append(set(self.now))
        self.modes.append((encoder.blocks[0].training, encoder.heads["3"].training, encoder.heads["2"].training))
        self.weights.append(weights_of(module))
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.scales.append(module.model.pruner.scale)
        self.losses.append(outputs["loss"].item())
        self.modes[-1] = (*self.modes[-1], *self.graphs)


def changed(before, after):
    """Return the names of the weights that differ in any bit."""
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("objective", STAGED, ids=["two_stage", "two_stage_distill"])
def test_each_stage_changes_its_own_weights_alone(tmp_path, objective):
    watch = Watch()
    module, checkpoints, _ = fit(tmp_path, watch, objective=objective)
    first, second = changed(watch.start, watch.weights[8]), changed(watch.weights[8], watch.weights[17])
    assert not any(name.startswith(EARLY) for name in first)
    assert {"encoder.blocks.2.qkv.weight", "encoder.heads.3.out.weight"} <= first
    assert second == {name for name in watch.start if name.startswith(EARLY)}
    assert all(mode == (True, True, True, True) for mode in watch.modes[:9])
    assert all(mode == (False, False, True, False) for mode in watch.modes[9:]), "no dropout, no graph"
    assert all(parameter.requires_grad for parameter in module.model.parameters())
    assert all(part.training for part in module.model.modules())
    assert (checkpoints.best_step, checkpoints.best_score) == (None, None), "the last weights are kept"


def test_only_heads_with_a_weight_run_and_no_block_behind_them(tmp_path):
    everything = {"block 1", "block 2", "block 3", "head 2", "head 3"}
    expected = {
        make_objective("two_stage"): [everything - {"head 2"}] * 3 + [everything - {"block 3", "head 3"}] * 3,
        make_objective("two_stage_distill"): [everything - {"head 2"}] * 3 + [everything] * 3,
        make_objective("alternating"): [everything - {"head 2"}, everything] * 3,
        make_objective("joint"): [everything] * 6,
        make_objective("joint", early_weight=0.0): [everything - {"head 2"}] * 6,
        make_objective("joint", final_weight=0.0): [everything - {"block 3", "head 3"}] * 6,
    }
    for number, (objective, ran) in enumerate(expected.items()):
        watch = Watch()
        fit(tmp_path / str(number), watch, objective=objective, max_epochs=1)
        assert watch.ran == ran, objective


def test_an_alternating_step_on_the_final_head_leaves_the_early_one_as_it_is(tmp_path):
    watch = Watch()
    fit(tmp_path, watch, objective=make_objective("alternating"), max_epochs=1)
    states = [watch.start, *watch.weights]
    learns = [any(name.startswith(EARLY) for name in changed(*pair)) for pair in itertools.pairwise(states)]
    assert learns == [False, True] * 3


def test_the_learning_rate_starts_anew_and_the_encoder_meets_the_final_ratio_before_it_is_frozen(tmp_path):
    watch = Watch()
    fit(tmp_path, watch, objective=make_objective("two_stage", stage=1 / 3), max_epochs=3)
    first, second = watch.rates[:5], watch.rates[5:17]  # each the rate of the step after
    assert first == sorted(first, reverse=True) and first[-1] < second[0]
    assert second[1:] == sorted(second[1:], reverse=True)
    # Half an epoch without pruning and one of annealing, shrunk from 9 steps to the first stage's 6.
    assert watch.scales == pytest.approx([0.0, 0.0, 0.0, 0.25, 0.5, 0.75] + [1.0] * 12)


@pytest.mark.parametrize("objective", [make_objective("alternating"), DepthWeightedObjective(), SoftRoutingObjective()])
def test_every_head_learns(tmp_path, objective):
    module, _, _ = fit(tmp_path, objective=objective, max_epochs=8, patience=8)
    measured = module.trainer.callback_metrics
    assert measured["val/accuracy_depth_2"] >= 0.9
    assert measured["val/accuracy_depth_3"] >= 0.9


@pytest.mark.parametrize("objective", STAGED, ids=["two_stage", "two_stage_distill"])
def test_early_heads_learn_on_the_frozen_encoder(tmp_path, objective):
    watch = Watch()
    fit(tmp_path, watch, objective=objective, max_epochs=6)
    first, last = sum(watch.losses[18:24]), sum(watch.losses[-6:])  # of the second stage's epochs
    assert last < 0.9 * first


def test_a_weight_that_was_frozen_for_good_stays_so(tmp_path):
    module = make_module(objective=make_objective("two_stage"))
    module.model.encoder.embeddings.requires_grad_(False)
    watch = Watch()
    fit(tmp_path, watch, module=module)
    assert not any(name.startswith("encoder.embeddings") for name in changed(watch.start, weights_of(module)))
    assert not any(parameter.requires_grad for parameter in module.model.encoder.embeddings.parameters())


def test_two_stages_without_an_early_head_are_refused_before_the_first_step(tmp_path):
    module = make_module(objective=make_objective("two_stage"), head_depths=[])
    with pytest.raises(ValueError, match=r"head_depths: .* expected at least one depth before the last, got \[3\]"):
        fit(tmp_path, module=module)
    assert module.global_step == 0
