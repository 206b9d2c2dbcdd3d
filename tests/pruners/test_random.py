"""The control: as if at random, yet the same in any batch."""

import pytest
import torch

from eat.packed import Packed
from eat.pruners.random import RandomPruner
from tests.reference.tiny import batch_of, configure, shared_float64
from tests.reference.unchecked import unchecked


def state_of(length, copies=1, seed=0):
    """The same sentence several times over."""
    ids = torch.randint(5, 1000, (length,), generator=torch.Generator().manual_seed(seed)).repeat(copies)
    positions = torch.arange(length).repeat(copies)
    return Packed.start(torch.zeros(len(ids), 1), ids, positions, [length] * copies, contiguous=True)


def kept(pruner, state, depth):
    return pruner(state, depth).nonzero()[:, 0].tolist()


def test_same_fate_in_any_batch():
    pruner = RandomPruner(depths=[1], ratio=0.5)
    once, twice = pruner(state_of(40), 1), pruner(state_of(40, copies=2), 1)
    assert torch.equal(once.repeat(2), twice)


def test_other_seeds_and_depths_draw_anew():
    state = state_of(200)
    draws = [
        kept(RandomPruner(depths=[1, 2], ratio=0.5, seed=seed), state, depth) for seed in (0, 1) for depth in (1, 2)
    ]
    for i, one in enumerate(draws):
        for other in draws[:i]:
            shared = len(set(one) & set(other))
            assert 30 < shared < 70, "two independent halves of 200 share about 50"


def test_every_position_is_as_likely():
    """Over many sentences each of the nine other positions is dropped about equally often."""
    pruner = RandomPruner(depths=[1], ratio=1 / 3)
    dropped = torch.zeros(10)
    for seed in range(400):
        dropped += (~pruner(state_of(10, seed=seed), 1)).float()
    assert dropped[0] == 0 and dropped.sum() == 400 * 3
    expected = 400 / 3
    assert float(((dropped[1:] - expected) ** 2 / expected).sum()) < 26  # chi-square, 8 degrees of freedom, p = 0.001


def test_it_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    RandomPruner(depths=[1])(state_of(20), 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_in_the_model_a_seed_is_a_draw():
    ids, mask, _ = batch_of([20, 12])
    logits = []
    for seed in (0, 0, 1):
        pruner = {"name": "random", "depths": [1], "ratio": 0.5, "seed": seed}
        model = configure(shared_float64("bert", "mean"), {"name": "full"}, pruner, {"name": "never"})
        with torch.no_grad():
            logits.append(model(ids, mask).logits)
    assert torch.equal(logits[0], logits[1])
    assert not torch.allclose(logits[0], logits[2])


@pytest.mark.parametrize("seed", ["0", 1.5, None, True])
def test_seed_must_be_an_integer(seed):
    with pytest.raises(ValueError, match=r"pruner\.seed: expected an integer, got"):
        unchecked(RandomPruner, seed=seed)
