"""Both trainers really train the same examples; how fast is no test's business."""

import numpy as np
import pytest
import torch

from eat.backbones.tiny import tiny_config
from eat.suite.training import TRAINER, training_contenders

LENGTHS = np.array([5, 9, 3, 12, 7, 4, 8, 6])


@pytest.fixture(scope="module")
def contenders():
    return training_contenders(tiny_config(), LENGTHS, batch_size=4, device=torch.device("cpu"))


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("name", [TRAINER, f"{TRAINER}_grouped", "eat"])
def test_an_epoch_trains(contenders, name):
    model = contenders[name].args[0]
    before = weights(model)
    assert contenders[name]() > 0
    assert not torch.equal(weights(model), before)
    assert model.training


def test_the_baseline_comes_first(contenders):
    assert next(iter(contenders)) == TRAINER


def test_batches_of_like_length_are_ours(contenders):
    """The grouped Trainer sees the rows in the order of our sampler's batches."""
    rows = contenders[f"{TRAINER}_grouped"].args[-1]
    lengths = [len(row["input_ids"]) for row in rows]
    assert sorted(lengths) == sorted(LENGTHS.tolist())
    assert {tuple(sorted(lengths[:4])), tuple(sorted(lengths[4:]))} == {(3, 4, 5, 6), (7, 8, 9, 12)}


def test_examples_must_fill_batches():
    with pytest.raises(ValueError, match=r"lengths: expected a multiple of batch_size=4 examples, got 3"):
        training_contenders(tiny_config(), LENGTHS[:3], batch_size=4, device=torch.device("cpu"))
