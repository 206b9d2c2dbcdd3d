"""What every objective in the table promises."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eat.training.objectives import OBJECTIVES, build_objective
from tests.training.test_teacher import make_tokenizer

every_objective = pytest.mark.parametrize("name", sorted(OBJECTIVES))
TARGETS = {True: torch.tensor([0.5, 1.0, 2.0, 0.0]), False: torch.tensor([0, 1, 2, 0])}


def build(name, regression=False, **arguments):
    label_names = () if regression else ("a", "b", "c")
    spec = {"name": name, **arguments}
    return build_objective(spec, tokenizer=make_tokenizer(), label_names=label_names, max_length=8)


@every_objective
@given(
    depths=st.lists(st.integers(1, 12), min_size=2, max_size=6, unique=True).map(lambda d: tuple(sorted(d))),
    total_steps=st.integers(2, 50),
    data=st.data(),
)
def test_what_a_step_trains_follows_from_the_step_alone(name, depths, total_steps, data):
    objective, step = build(name), data.draw(st.integers(0, total_steps - 1))
    phase = objective.phase(step, total_steps, depths)
    assert phase == build(name).phase(step, total_steps, depths)
    assert set(phase.head_depths) <= set(depths) and list(phase.head_depths) == sorted(phase.head_depths)
    assert len(phase.weights) == len(phase.head_depths) > 0
    assert all(weight >= 0 for weight in phase.weights)
    assert not phase.frozen or set(phase.head_depths) & set(depths[:-1])
    restarts = objective.restarts(total_steps)
    assert list(restarts) == sorted(set(restarts)) and all(0 < start < total_steps for start in restarts)


@every_objective
@pytest.mark.parametrize("regression", [False, True])
@pytest.mark.parametrize("step", [0, 1, 8, 9])
def test_the_loss_is_the_sum_of_its_parts_and_teaches_the_heads(name, regression, step):
    if regression and OBJECTIVES[name].needs_classes:
        with pytest.raises(ValueError, match=rf"objective.name: '{name}' needs class probabilities, .* 'joint'"):
            build(name, regression)
        return
    objective, labels = build(name, regression), TARGETS[regression]
    phase = objective.phase(step, 10, (1, 3, 6))
    all_logits = torch.randn(4, len(phase.head_depths), 1 if regression else 3, requires_grad=True)
    loss, parts = objective(all_logits, {"labels": labels}, phase)
    assert torch.isfinite(loss) and loss.shape == ()
    torch.testing.assert_close(loss, torch.stack(list(parts.values())).sum())
    (gradient,) = torch.autograd.grad(loss, all_logits)
    taught = gradient.flatten(2).abs().sum((0, 2)) > 0
    learning = [depth < 6 or not phase.frozen for depth in phase.head_depths]
    assert taught.tolist() == learning
    again, _ = objective(all_logits, {"labels": labels}, phase)
    assert torch.equal(again, loss), "it remembers nothing"


@every_objective
def test_one_head_is_enough_or_the_error_says_that_it_is_not(name):
    objective = build(name)
    if objective.restarts(10):
        with pytest.raises(ValueError, match=r"head_depths: .* expected at least one depth before the last, got \[6\]"):
            objective.phase(0, 10, (6,))
    else:
        assert {objective.phase(step, 10, (6,)).head_depths for step in range(10)} == {(6,)}


def test_a_misspelt_name_or_argument_is_named():
    with pytest.raises(ValueError, match=r"objective.name: expected one of .* \(did you mean 'two_stage'\?\)"):
        build("two_stages")
    with pytest.raises(ValueError, match=r"objective.stages: .* \(did you mean 'stage'\?\)"):
        build("two_stage", stages=0.5)
