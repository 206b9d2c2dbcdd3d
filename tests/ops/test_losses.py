"""The losses against values worked by hand and against loops."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from eat.ops import losses

# Logits log(p) give exactly the probabilities p, so that every expected value can be worked by hand.
HALF = [math.log(0.5), math.log(0.5)]
QUARTER = [math.log(0.25), math.log(0.75)]


def test_joint_loss_by_hand():
    all_logits = torch.tensor([[HALF, QUARTER]])
    value = losses.joint_loss(all_logits, torch.tensor([0]), [0.3, 1.0])
    assert value.item() == pytest.approx(0.3 * math.log(2) + 1.0 * math.log(4), rel=1e-6)


def test_joint_loss_is_the_weighted_sum_of_the_heads():
    all_logits, labels = torch.randn(5, 3, 4), torch.tensor([0, 3, 1, 2, 2])
    weights = [0.3, 0.3, 1.0]
    expected = sum(w * F.cross_entropy(all_logits[:, h], labels) for h, w in enumerate(weights))
    torch.testing.assert_close(losses.joint_loss(all_logits, labels, weights), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_weights_and_focal_loss_are_those_of_a_loop(gamma, smoothing):
    all_logits, labels = torch.randn(6, 2, 4, dtype=torch.float64), torch.tensor([0, 3, 1, 2, 2, 0])
    class_weights, head_weights = [0.5, 1.0, 2.0, 4.0], [0.3, 1.0]
    options = {"label_smoothing": smoothing, "class_weights": class_weights, "focal_gamma": gamma}
    routes = losses.routing_weights(all_logits)
    joint = routed = 0.0
    for example, label in enumerate(labels.tolist()):
        for head in range(2):
            p = all_logits[example, head].softmax(-1).tolist()
            target = [(1 - smoothing) * (c == label) + smoothing / 4 for c in range(4)]
            entropy = -sum(share * math.log(chance) for share, chance in zip(target, p, strict=True))
            loss = class_weights[label] * (1 - p[label]) ** gamma * entropy
            joint += head_weights[head] * loss / 6
            routed += routes[example, head].item() * loss / 6
    assert losses.joint_loss(all_logits, labels, head_weights, **options).item() == pytest.approx(joint, rel=1e-9)
    assert losses.routed_cross_entropy(all_logits, labels, **options).item() == pytest.approx(routed, rel=1e-9)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_focal_loss_has_a_finite_gradient_where_an_answer_is_sure(gamma, dtype):
    logits = torch.tensor([[[1e4, 0.0]], [[-1e4, 0.0]], [[0.0, 0.0]]], dtype=dtype, requires_grad=True)
    losses.joint_loss(logits, torch.tensor([0, 0, 1]), [1.0], focal_gamma=gamma).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[0].abs().sum() == 0 and logits.grad[1].abs().sum() > 0


def test_no_label_is_left_out_in_silence_where_labels_are_not_checked(monkeypatch):
    # On a GPU the range of labels is left to the kernel, which takes torch's ignore_index for a loss of 0.
    monkeypatch.setattr(losses, "read_classes", lambda labels, batch, classes: labels)
    with pytest.raises(IndexError, match="Target -100 is out of bounds"):
        losses.joint_loss(torch.zeros(2, 1, 3), torch.tensor([1, -100]), [1.0])


def test_as_many_class_weights_as_classes_are_expected():
    with pytest.raises(ValueError, match=r"class_weights: expected one for each of 3 classes, got 2"):
        losses.joint_loss(torch.randn(2, 1, 3), torch.tensor([0, 1]), [1.0], class_weights=[1.0, 2.0])


def test_half_precision_is_lifted_and_double_precision_kept():
    all_logits, weights = torch.randn(3, 2, 2), [1.0, 1.0]
    labels = torch.tensor([0, 1, 1])
    assert losses.joint_loss(all_logits.bfloat16(), labels, weights).dtype == torch.float32
    assert losses.joint_loss(all_logits.double(), labels, weights).dtype == torch.float64


def test_joint_loss_of_a_regression_by_hand():
    all_logits = torch.tensor([[[1.0], [2.0]], [[3.0], [5.0]]])
    # Head 0 errs by 1 and 1, head 1 by 0 and 1: 0.5 * 1 + 2 * 0.5.
    value = losses.joint_loss(all_logits, torch.tensor([2.0, 4.0]), [0.5, 2.0])
    assert value.item() == pytest.approx(1.5)


def test_distillation_by_hand():
    # At T = 1: KL((1/2, 1/2) || (1/4, 3/4)) = 1/2 log 2 + 1/2 log(2/3).
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    value = losses.distillation(torch.tensor([QUARTER]), torch.tensor([HALF]), temperature=1.0)
    assert value.item() == pytest.approx(expected, rel=1e-5)
    # At T = 2, logits that are twice as large soften to the same probabilities; only T^2 remains.
    doubled = losses.distillation(2 * torch.tensor([QUARTER]), 2 * torch.tensor([HALF]), temperature=2.0)
    assert doubled.item() == pytest.approx(4 * expected, rel=1e-5)


def test_distillation_is_zero_for_equal_predictions_and_gives_the_teacher_no_gradient():
    student, teacher = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    assert losses.distillation(student, student.detach() + 5.0).item() == pytest.approx(0.0, abs=1e-6)
    losses.distillation(student, teacher).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_self_distillation_is_the_mean_over_early_heads_and_spares_the_final_one():
    all_logits = torch.randn(4, 3, 2, requires_grad=True)
    value = losses.self_distillation(all_logits, temperature=2.0)
    expected = sum(losses.distillation(all_logits[:, h], all_logits[:, 2], 2.0) for h in (0, 1)) / 2
    torch.testing.assert_close(value, expected)
    value.backward()
    assert all_logits.grad[:, :2].abs().sum() > 0
    assert all_logits.grad[:, 2].abs().sum() == 0


def test_regression_distillation_by_hand():
    assert losses.distillation(torch.tensor([[1.0], [4.0]]), torch.tensor([[3.0], [4.0]])).item() == 2.0
    all_logits = torch.tensor([[[1.0], [2.0], [4.0]]])
    assert losses.self_distillation(all_logits).item() == pytest.approx((9 + 4) / 2)


def test_without_early_heads_nothing_is_distilled():
    assert losses.self_distillation(torch.randn(2, 1, 3)).item() == 0.0
    assert losses.self_distillation(torch.randn(2, 1, 1)).item() == 0.0


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match="temperature"):
        losses.distillation(torch.randn(1, 2), torch.randn(1, 2), temperature=0.0)


def test_depth_weights_by_hand():
    assert losses.depth_weights((2, 4, 6)) == pytest.approx((1 / 6, 1 / 3, 1 / 2))
    assert losses.depth_weights((6,)) == (1.0,)


def test_routing_by_hand():
    # Entropies 1, H(1/4, 3/4) and whatever: nobody leaves at the first head, 1 - H at the second, the rest at the last.
    stays = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    weights = losses.routing_weights(torch.tensor([[HALF, QUARTER, HALF], [[50.0, -50.0], HALF, QUARTER]]))
    torch.testing.assert_close(weights, torch.tensor([[0.0, 1 - stays, stays], [1.0, 0.0, 0.0]]))


def test_routing_shares_out_a_weight_of_one_and_gets_no_gradient():
    all_logits = (5 * torch.randn(20, 4, 3)).requires_grad_()
    weights = losses.routing_weights(all_logits)
    assert not weights.requires_grad and (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(20))
    assert losses.routing_weights(all_logits[:, :1]).tolist() == [[1.0]] * 20


def test_routed_cross_entropy_by_hand():
    # The first example leaves at the last head (1/2), the second is sure and right at the first (1).
    all_logits = torch.tensor([[HALF, QUARTER], [[0.0, 50.0], HALF]])
    value = losses.routed_cross_entropy(all_logits, torch.tensor([0, 1]))
    assert value.item() == pytest.approx(math.log(4) / 2, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_several_labels_cost_the_mean_of_their_binary_cross_entropies(gamma, smoothing):
    all_logits = torch.randn(4, 2, 3, dtype=torch.float64)
    labels = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]]).double()
    weights, head_weights = [0.5, 1.0, 4.0], [0.3, 1.0]
    expected = 0.0
    for example, head, label in itertools.product(range(4), range(2), range(3)):
        p, y = all_logits[example, head, label].sigmoid().item(), labels[example, label].item()
        target = (1 - smoothing) * y + smoothing / 2
        loss = -weights[label] * target * math.log(p) - (1 - target) * math.log(1 - p)
        right = p if y else 1 - p
        expected += head_weights[head] * (1 - right) ** gamma * loss / 12
    options = {"label_smoothing": smoothing, "class_weights": weights, "focal_gamma": gamma}
    assert losses.joint_loss(all_logits, labels, head_weights, **options).item() == pytest.approx(expected, rel=1e-9)
    plain = losses.joint_loss(all_logits, labels, head_weights)
    theirs = sum(w * F.binary_cross_entropy_with_logits(all_logits[:, h], labels) for h, w in enumerate(head_weights))
    torch.testing.assert_close(plain, theirs)
    torch.testing.assert_close(losses.joint_loss(all_logits, labels.long(), head_weights), theirs, check_dtype=False)


def test_several_labels_distil_as_two_answers_each():
    student, teacher = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    expected = 0.0
    for ours, theirs in zip((student / 2).sigmoid().flatten(), (teacher / 2).sigmoid().flatten(), strict=True):
        expected += theirs * (theirs / ours).log() + (1 - theirs) * ((1 - theirs) / (1 - ours)).log()
    found = losses.distillation(student, teacher, 2.0, multi_label=True)
    assert found.item() == pytest.approx(4 * expected.item() / 15, rel=1e-9)
    heads = torch.stack((student, teacher), dim=1)
    torch.testing.assert_close(losses.self_distillation(heads, 2.0, multi_label=True), found)


def test_several_labels_are_routed_by_the_least_sure():
    logits = torch.tensor([[[50.0, 0.0], [50.0, -50.0]], [[50.0, -50.0], [0.0, 0.0]]])
    torch.testing.assert_close(losses.routing_weights(logits, multi_label=True), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([[0.5, 0.0, 1.0]]), r"labels: expected 0 or 1, got 0.5"),
        (torch.tensor([[0, 1]]), r"labels: expected one per example, of shape \(1,\) or \(1, 1\), got shape \(1, 2\)"),
    ],
)
def test_odd_label_sets_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        losses.joint_loss(torch.randn(1, 2, 3), labels, [1.0, 1.0])
