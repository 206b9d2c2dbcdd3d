"""The order of training."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eat.data.sampler import EpochBatchSampler, batches_in_order, epoch_batches

LENGTHS = np.random.default_rng(0).integers(3, 60, size=500)


@given(
    num_examples=st.integers(0, 120),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 3),
    grouped=st.booleans(),
)
def test_every_example_comes_once_and_all_batches_but_one_are_full(num_examples, batch_size, seed, epoch, grouped):
    lengths = LENGTHS[:num_examples]
    batches = epoch_batches(lengths, batch_size, seed=seed, epoch=epoch, group_by_length=grouped)
    assert sorted(i for batch in batches for i in batch) == list(range(num_examples))
    assert len(batches) == len(EpochBatchSampler(lengths, batch_size)) == -(-num_examples // batch_size)
    assert sum(len(batch) != batch_size for batch in batches) == (num_examples % batch_size > 0)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_order_follows_from_seed_and_epoch_alone(grouped):
    orders = {
        (seed, epoch): epoch_batches(LENGTHS, 8, seed=seed, epoch=epoch, group_by_length=grouped)
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    np.random.seed(3)  # noqa: NPY002  # the global generator must not matter
    assert orders[1, 1] == epoch_batches(LENGTHS, 8, seed=1, epoch=1, group_by_length=grouped)
    assert len({str(order) for order in orders.values()}) == 4


def test_like_lengths_come_together_and_short_and_long_batches_in_turns():
    def spread(grouped):
        batches = epoch_batches(LENGTHS, 8, seed=0, epoch=0, group_by_length=grouped)
        return np.mean([np.ptp(LENGTHS[batch]) for batch in batches])

    assert spread(True) < spread(False) / 5
    means = [LENGTHS[batch].mean() for batch in epoch_batches(LENGTHS, 8, seed=0, epoch=0, group_by_length=True)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


def test_skipping_goes_on_in_the_middle_of_an_epoch_once():
    sampler = EpochBatchSampler(LENGTHS, 32, seed=4)
    sampler.set_epoch(2)
    whole = list(sampler)
    sampler.start_at(2, 5)
    assert len(sampler) == len(whole)  # what a progress bar counts against
    assert list(sampler) == whole[5:]
    assert list(sampler) == whole


def test_an_iteration_that_began_goes_on_when_the_next_epoch_is_set():
    sampler = EpochBatchSampler(LENGTHS, 32)
    whole = list(sampler)
    iteration = iter(sampler)
    first = next(iteration)
    sampler.set_epoch(1)
    assert [first, *iteration] == whole
    assert list(sampler) != whole


def test_evaluation_keeps_the_order():
    assert batches_in_order(5, 2) == [[0, 1], [2, 3], [4]]
    assert batches_in_order(0, 2) == []


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="batch_size: expected an integer of 1 or more, got 0"):
        EpochBatchSampler(LENGTHS, 0)
    with pytest.raises(ValueError, match="batch_size: expected an integer of 1 or more, got -1"):
        batches_in_order(5, -1)
