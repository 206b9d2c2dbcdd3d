"""The pruning scale and the learning rate at every step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eat.training.schedule import PruningSchedule, linear_warmup_decay


def test_the_papers_schedule_by_hand():
    schedule = PruningSchedule(warmup_epochs=1.0, anneal_epochs=2.0)
    scales = [schedule.scale_at(step, steps_per_epoch=4) for step in range(14)]
    assert scales[:5] == [0.0] * 5  # epoch 1, and the first step of epoch 2
    assert scales[4:12] == pytest.approx([i / 8 for i in range(8)])
    assert scales[12:] == [1.0, 1.0]
    assert schedule.end_step(4) == 12


@given(warmup=st.floats(0.0, 3.0), anneal=st.floats(0.0, 3.0), epochs=st.integers(1, 5), steps=st.integers(1, 40))
def test_the_scale_grows_within_bounds_and_ends_with_any_training(warmup, anneal, epochs, steps):
    schedule = PruningSchedule(warmup, anneal).shrunk_to(float(epochs))
    scales = [schedule.scale_at(step, steps) for step in range(epochs * steps + 1)]
    assert all(0 <= scale <= 1 for scale in scales)
    assert scales == sorted(scales)
    assert scales[-1] == 1.0
    assert schedule.end_step(steps) <= epochs * steps


def test_shrinking_keeps_the_proportions_and_never_stretches():
    schedule = PruningSchedule(1.0, 2.0)
    assert schedule.shrunk_to(1.5) == PruningSchedule(0.5, 1.0)
    assert schedule.shrunk_to(10.0) is schedule


def test_a_schedule_of_nothing_prunes_at_once():
    assert PruningSchedule(0.0, 0.0).scale_at(0, 10) == 1.0


def test_bad_schedules_are_refused():
    with pytest.raises(ValueError, match="anneal_epochs: expected"):
        PruningSchedule(1.0, -1.0)
    with pytest.raises(ValueError, match="epochs: expected a number above 0"):
        PruningSchedule(1.0, 2.0).shrunk_to(0.0)


def test_the_learning_rate_rises_and_falls_linearly():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = linear_warmup_decay(optimizer, total_steps=10, warmup_ratio=0.2)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    assert optimizer.param_groups[0]["lr"] == 0.0


def test_the_learning_rate_rises_and_falls_once_more_in_each_later_stage():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = linear_warmup_decay(optimizer, total_steps=9, warmup_ratio=0.4, restarts=[4])
    rates = []
    for _ in range(9):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.5, 0.5, 1.0, 1.0, 2 / 3, 1 / 3])
    assert optimizer.param_groups[0]["lr"] == 0.0


def test_a_warm_up_of_everything_is_refused():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    with pytest.raises(ValueError, match="warmup_ratio"):
        linear_warmup_decay(optimizer, total_steps=10, warmup_ratio=1.0)
