"""Magnitude pruning: which weights stay at each step, against a sort, and that it takes part in a training."""

import numpy as np
import pytest
import torch

from eat.testing.models import make_model
from eat.testing.tiny import tiny_adaptive
from eat.training.compression.layers import dense_layers
from tests.training.made import make_compression, make_objective
from tests.training.small import fit


def largest(weight, share):
    """Zeros in the place of all but the largest numbers, by a sort."""
    weight = weight.detach().numpy()
    order = np.argsort(-np.abs(weight).flatten(), kind="stable")
    kept = np.zeros(weight.size, dtype=bool)
    kept[order[: max(1, round(share * weight.size))]] = True
    return weight * kept.reshape(weight.shape)


@pytest.mark.parametrize(
    ("step", "share"),
    [(0, 1.0), (10, 1.0), (25, 0.2 + 0.8 * 0.75**3), (40, 0.2 + 0.8 / 8), (70, 0.2), (99, 0.2), (300, 0.2)],
)
def test_the_largest_of_each_matrix_stay(step, share):
    model, plain = make_model(), make_model()
    compression = make_compression("magnitude", keep=0.2)
    compression.attach(model)
    compression.update(model, step, 100)
    for layer, before in zip(dense_layers(model), dense_layers(plain), strict=True):
        np.testing.assert_array_equal(layer.weight.detach().numpy(), largest(before.weight, share))
    assert compression.end_step(100) == 70


def test_a_training_ends_with_as_many_zeros_as_asked_and_counts_only_what_has_them(tmp_path):
    module, checkpoints, _ = fit(tmp_path, compression=make_compression("magnitude", keep=0.3), max_epochs=4)
    assert checkpoints.best_step >= round(0.7 * 24)
    finished = module.finished_model()
    for layer in dense_layers(finished):
        assert (layer.weight != 0).sum() == round(0.3 * layer.weight.numel())


def test_pruned_weights_of_a_frozen_encoder_stay_pruned(tmp_path):
    module, _, _ = fit(
        tmp_path,
        objective=make_objective("two_stage"),
        compression=make_compression("magnitude", keep=0.3, end=1.0),
    )
    assert module.encoder_steps < module.total_steps
    shares = {float((layer.weight != 0).float().mean()) for layer in dense_layers(module.model)}
    assert list(shares) == pytest.approx([0.3] * len(shares), abs=1e-2)


def test_layers_that_are_shared_are_pruned_once():
    model = tiny_adaptive("albert")
    compression = make_compression("magnitude", keep=0.2)
    compression.attach(model)
    compression.update(model, 1, 1)
    assert len(list(dense_layers(model))) == 4
    ids = torch.randint(5, 40, (2, 9))
    expected = model(ids, trace=True).all_logits
    assert torch.equal(compression.finish(model)(ids, trace=True).all_logits, expected)


def test_an_end_before_the_start_is_refused():
    with pytest.raises(ValueError, match=r"^compression\.end: expected at least compression\.start=0\.8, got 0\.7$"):
        make_compression("magnitude", start=0.8)
