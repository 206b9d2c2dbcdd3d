"""Each objective against its paper's equation, and which heads each step is about."""

import inspect
import math

import pytest
import torch
import torch.nn.functional as F

from eat.ops import losses
from eat.training.objectives import build_objective
from eat.training.objectives.depth_weighted import DepthWeightedObjective
from eat.training.objectives.soft_routing import SoftRoutingObjective
from eat.training.objectives.weighted import Phase
from tests.training.made import make_objective

DEPTHS = (2, 4, 6)
CLASSES, TARGETS = torch.tensor([0, 1, 1]), torch.tensor([0.5, 1.0, 2.0])


def loss_at(objective, all_logits, labels, step=0, total_steps=10, head_depths=DEPTHS):
    """Return loss and parts for a step, given the logits of all heads."""
    phase = objective.phase(step, total_steps, head_depths)
    columns = [head_depths.index(depth) for depth in phase.head_depths]
    return objective(all_logits[:, columns], {"labels": labels}, phase)


def head_losses(all_logits, labels=CLASSES):
    return [F.cross_entropy(logits, labels) for logits in all_logits.unbind(1)]


def test_joint_alone_is_the_papers_first_equation():
    log_half, log_quarter = math.log(0.5), math.log(0.25)
    all_logits = torch.tensor([[[log_half, log_half], [log_quarter, math.log(0.75)]]])
    loss, parts = loss_at(make_objective("joint"), all_logits, torch.tensor([0]), head_depths=(1, 2))
    assert loss.item() == pytest.approx(0.3 * math.log(2) + math.log(4), rel=1e-6)
    assert list(parts) == ["supervised"]


def test_joints_parts_add_up():
    all_logits, taught = torch.randn(3, 3, 2), torch.randn(3, 2)
    objective = make_objective("joint", self_weight=0.7, teacher=lambda _: taught, teacher_weight=0.5, temperature=3.0)
    loss, parts = loss_at(objective, all_logits, CLASSES)
    torch.testing.assert_close(parts["self_distillation"], 0.7 * losses.self_distillation(all_logits, 3.0))
    torch.testing.assert_close(parts["distillation"], 0.5 * losses.distillation(all_logits[:, -1], taught, 3.0))
    torch.testing.assert_close(loss, parts["supervised"] + parts["self_distillation"] + parts["distillation"])


def test_regression_squares_errors():
    all_logits = torch.zeros(3, 2, 1)
    objective = make_objective("joint", self_weight=1.0, teacher=lambda _: torch.ones(3, 1), teacher_weight=0.5)
    loss, parts = loss_at(objective, all_logits, TARGETS, head_depths=(1, 2))
    squared = (0.25 + 1.0 + 4.0) / 3
    assert parts["supervised"].item() == pytest.approx(1.3 * squared)
    assert parts["distillation"].item() == pytest.approx(0.5)
    assert loss.item() == pytest.approx(1.3 * squared + 0.5)


def test_half_precision_logits_do_not_round_the_weights():
    all_logits = torch.zeros(3, 3, 2)
    loss, _ = loss_at(make_objective("joint"), all_logits.bfloat16(), CLASSES)
    assert loss.item() == pytest.approx(1.6 * math.log(2), rel=1e-6)


@pytest.mark.parametrize(
    ("objective", "heads"),
    [
        (make_objective("joint"), DEPTHS),
        (make_objective("joint", early_weight=0.0), (6,)),
        (make_objective("joint", final_weight=0.0), (2, 4)),
        (make_objective("joint", final_weight=0.0, teacher=lambda _: torch.zeros(3, 2)), DEPTHS),
        (make_objective("joint", final_weight=0.0, teacher=lambda _: torch.zeros(3, 2), teacher_weight=0.0), (2, 4)),
        (make_objective("joint", early_weight=0.0, final_weight=0.0, self_weight=0.5), DEPTHS),
    ],
)
def test_joint_reads_the_heads_that_have_a_weight(objective, heads):
    assert objective.phase(3, 10, DEPTHS).head_depths == heads


def test_joint_without_any_weight_is_refused():
    with pytest.raises(ValueError, match=r"expected a weight above 0 on some head at \[6\], got early_weight=0.3"):
        make_objective("joint", final_weight=0.0).phase(0, 10, (6,))


def test_depths_are_pabees_weights():
    all_logits = torch.randn(3, 3, 2)
    loss, _ = loss_at(DepthWeightedObjective(), all_logits, CLASSES)
    first, second, third = head_losses(all_logits)
    torch.testing.assert_close(loss, (2 * first + 4 * second + 6 * third) / 12)


def test_berxit_takes_turns_and_starts_with_the_final_head():
    all_logits, objective = torch.randn(3, 3, 2), make_objective("alternating")
    per_head = head_losses(all_logits)
    assert [objective.phase(step, 10, DEPTHS).head_depths for step in range(4)] == [(6,), DEPTHS, (6,), DEPTHS]
    torch.testing.assert_close(loss_at(objective, all_logits, CLASSES, step=0)[0], per_head[2])
    torch.testing.assert_close(loss_at(objective, all_logits, CLASSES, step=1)[0], sum(per_head))
    weighted = loss_at(make_objective("alternating", early_weight=0.5), all_logits, CLASSES, step=1)[0]
    torch.testing.assert_close(weighted, 0.5 * (per_head[0] + per_head[1]) + per_head[2])


def test_deebert_trains_the_final_head_and_then_the_early_ones_on_a_frozen_encoder():
    all_logits, objective = torch.randn(3, 3, 2), make_objective("two_stage", stage=0.3)
    per_head = head_losses(all_logits)
    assert objective.restarts(10) == (3,)
    phases = [objective.phase(step, 10, DEPTHS) for step in range(10)]
    assert phases == [Phase((6,), (1.0,))] * 3 + [Phase((2, 4), (1.0, 1.0), frozen=True)] * 7
    torch.testing.assert_close(loss_at(objective, all_logits, CLASSES, step=2)[0], per_head[2])
    torch.testing.assert_close(loss_at(objective, all_logits, CLASSES, step=3)[0], per_head[0] + per_head[1])


def test_fastberts_early_heads_learn_the_final_heads_answers_without_labels():
    all_logits = torch.randn(3, 3, 2, requires_grad=True)
    objective = make_objective("two_stage_distill")
    first, parts = loss_at(objective, all_logits, CLASSES, step=4)
    assert list(parts) == ["supervised"]
    torch.testing.assert_close(first, head_losses(all_logits)[2])
    second, parts = loss_at(objective, all_logits, CLASSES, step=5)
    assert list(parts) == ["self_distillation"]
    torch.testing.assert_close(second, losses.self_distillation(all_logits, 1.0))
    torch.testing.assert_close(second, loss_at(objective, all_logits, 1 - CLASSES, step=5)[0], rtol=0, atol=0)
    second.backward()
    assert all_logits.grad[:, 2].abs().sum() == 0
    assert objective.phase(5, 10, DEPTHS).frozen and not objective.phase(4, 10, DEPTHS).frozen


@pytest.mark.parametrize(("total_steps", "start"), [(2, 1), (3, 1), (7, 2), (1000, 250)])
def test_each_stage_has_a_step(total_steps, start):
    assert make_objective("two_stage", stage=0.25).restarts(total_steps) == (start,)
    assert make_objective("two_stage", stage=0.999).restarts(5) == (4,)


def test_soft_routing_weighs_each_example_where_it_is_likely_to_leave():
    all_logits = torch.randn(3, 3, 2)
    weights = losses.routing_weights(all_logits)
    per_example = torch.stack([F.cross_entropy(x, CLASSES, reduction="none") for x in all_logits.unbind(1)], dim=1)
    loss, _ = loss_at(SoftRoutingObjective(), all_logits, CLASSES)
    torch.testing.assert_close(loss, (weights * per_example).sum() / 3)


@pytest.mark.parametrize(
    ("objective", "name", "value"),
    [
        ("joint", "early_weight", -0.1),
        ("joint", "self_weight", float("nan")),
        ("joint", "temperature", 0.0),
        ("alternating", "early_weight", 0.0),
        ("two_stage", "stage", 0.0),
        ("two_stage", "stage", 1.0),
        ("two_stage_distill", "stage", float("nan")),
        ("two_stage_distill", "temperature", 0.0),
    ],
)
def test_bad_values_are_named(objective, name, value):
    with pytest.raises(ValueError, match=rf"objective\.{name}: expected"):
        make_objective(objective, **{name: value})


@pytest.mark.parametrize("name", ["joint", "depth_weighted", "two_stage", "alternating", "soft_routing"])
def test_label_smoothing_spreads_the_target_over_all_classes(name):
    all_logits = torch.randn(3, 3, 2)
    plain, smooth = (loss_at(make_objective(name, label_smoothing=s), all_logits, CLASSES)[0] for s in (0.0, 0.2))
    one, other = (loss_at(make_objective(name), all_logits, labels)[0] for labels in (CLASSES, 1 - CLASSES))
    torch.testing.assert_close(plain, one)
    torch.testing.assert_close(smooth, 0.9 * one + 0.1 * other)


def test_label_smoothing_out_of_range_and_on_a_regression_is_refused():
    with pytest.raises(ValueError, match=r"objective.label_smoothing: expected .* got 1"):
        make_objective("joint", label_smoothing=1.0)
    spec = {"name": "depth_weighted", "label_smoothing": 0.1}
    with pytest.raises(ValueError, match=r"objective.label_smoothing: expected 0 for a regression.* got 0.1"):
        inspect.unwrap(build_objective)(spec, tokenizer=None, label_names=[], max_length=8)
