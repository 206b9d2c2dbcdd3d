"""Movement pruning: scores follow the weights' movement, against the rule written out; masks follow the scores."""

import pytest
import torch

from eat.testing.models import draw_batch, make_model
from eat.testing.tiny import types_for
from eat.training.compression.gradual import ScoredMask, masks
from eat.training.compression.layers import dense_layers
from eat.training.compression.soft_movement import LEAST, PenalisedMask
from tests.training.made import make_compression
from tests.training.small import fit


def backward(model):
    ids, mask, types = draw_batch(model, 3)
    model.zero_grad()
    labels = torch.arange(len(ids)) % 3
    model(ids, mask, types_for(model, types), labels=labels).loss.backward()


@pytest.mark.parametrize("name", ["movement", "soft_movement"])
def test_scores_get_the_gradient_of_the_masked_weight_times_the_weight(name):
    plain, model = make_model(), make_model()
    compression = make_compression(name)
    compression.attach(model)
    generator = torch.Generator().manual_seed(0)
    for (_, mask), layer in zip(masks(model, ScoredMask), dense_layers(plain), strict=True):
        kept = torch.rand(mask.mask.shape, generator=generator) < 0.5
        mask.set(kept)
        layer.weight.data *= kept  # the same answers, and the gradient of each masked weight
    backward(plain)
    backward(model)
    for (weight, mask), layer in zip(masks(model, ScoredMask), dense_layers(plain), strict=True):
        torch.testing.assert_close(mask.scores.grad, layer.weight.grad * weight)
        torch.testing.assert_close(weight.grad, layer.weight.grad * mask.mask)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
def test_gradient_checkpointing_gives_equal_gradients():
    model, compression = make_model(), make_compression("movement", keep=0.4)
    compression.attach(model)
    compression.update(model.train(), 1, 1)
    backward(model)
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    backward(model)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name])


def test_the_highest_scores_stay_and_learn_at_their_own_rate(tmp_path):
    module, checkpoints, _ = fit(tmp_path, compression=make_compression("movement", keep=0.3), max_epochs=4)
    assert checkpoints.best_step >= round(0.7 * 24)
    scores = module.trainer.optimizers[0].param_groups[-1]
    assert {id(p) for p in scores["params"]} == {id(mask.scores) for _, mask in masks(module.model, ScoredMask)}
    assert (scores["initial_lr"], scores["weight_decay"]) == (1e-2, 0.0)
    learned = [mask.scores.detach().clone() for _, mask in masks(module.model, ScoredMask)]
    for layer, score in zip(dense_layers(module.finished_model()), learned, strict=True):
        kept = layer.weight != 0
        assert kept.sum() == round(0.3 * kept.numel())
        assert score[kept].min() >= score[~kept].max()


def test_threshold_and_penalty_grow_along_the_schedule():
    model, compression = make_model(), make_compression("soft_movement", penalty_weight=8.0, start=0.0, end=1.0)
    compression.attach(model)
    for step, grown in ((0, 0.0), (50, 7 / 8), (100, 1.0)):
        compression.update(model, step, 100)
        assert compression.penalty(model).item() == pytest.approx(8.0 * grown * 0.5)
        assert all(bool(mask.mask.all()) for _, mask in masks(model, PenalisedMask)), "sigmoid(0) is above"
    below = -3.0  # sigmoid 0.047
    with torch.no_grad():
        for _, mask in masks(model, PenalisedMask):
            mask.scores.flatten()[::2] = below
    compression.update(model, 100, 100)
    assert all((mask.mask == (mask.scores > below)).all() for _, mask in masks(model, PenalisedMask))
    compression.update(model, 10, 100)  # the threshold is 0.027
    assert all(bool(mask.mask.all()) for _, mask in masks(model, PenalisedMask))
    with torch.no_grad():
        for _, mask in masks(model, PenalisedMask):
            mask.scores.fill_(below)
    compression.update(model, 100, 100)
    for _, mask in masks(model, PenalisedMask):
        assert mask.mask.sum() == max(1, round(LEAST * mask.mask.numel()))


def test_a_penalty_lowers_the_scores_and_is_logged(tmp_path):
    compression = make_compression("soft_movement", penalty_weight=1e4, start=0.0, end=0.5)
    module, _, _ = fit(tmp_path, compression=compression)
    assert all(mask.scores.mean() < 0 for _, mask in masks(module.model, PenalisedMask))
    assert "train/compression" in (tmp_path / "metrics.csv").read_text().splitlines()[0]


def test_the_masks_do_not_depend_on_the_rate_of_the_scores(tmp_path):
    kept = []
    for rate in (1e-2, 1.28):  # a power of two apart, so that nothing is rounded
        module, *_ = fit(tmp_path / str(rate), compression=make_compression("movement", keep=0.3, score_lr=rate))
        kept.append([mask.mask.clone() for _, mask in masks(module.model, ScoredMask)])
    assert all(torch.equal(one, other) and not one.all() for one, other in zip(*kept, strict=True))
