"""Training losses over the exit heads, as pure functions; EAT's equations 1 and 2 (arXiv:2510.12856) and others'."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from eat.ops.confidence import normalised_entropy, sets_as_classes
from eat.ops.labels import is_multi_label, read_classes, read_label_sets, read_targets
from eat.ops.precision import at_least_float32

EARLY_WEIGHT = 0.3  # EAT's lambda of each early head in equation 1
FINAL_WEIGHT = 1.0  # its lambda of the final head
NOTHING_IGNORED = torch.iinfo(torch.int64).min
"""A class that no label is: torch's own -100 would count as a loss of 0 where labels are not checked, on a GPU."""


def joint_loss(
    all_logits: Float[Tensor, "batch heads classes"],
    labels: Tensor,
    weights: Sequence[float],
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
    focal_gamma: float = 0.0,
) -> Float[Tensor, ""]:
    """Return the weighted sum of the heads' mean losses, EAT's eq. 1: sum_l lambda_l CE(P_l, y).

    With one output (a regression) squared errors take the place of cross-entropies; in a multi-label task the mean
    over the labels of each one's binary cross-entropy, as in Hugging Face's models.

    Args:
        all_logits: Logits of every head, the last head last; of a regression the predictions, in the labels' unit.
        labels: (batch,) or (batch, 1), the class of each example, in [0, classes), or its target; of a multi-label
            task (batch, classes), 0 or 1 for each.
        weights: lambda of each head; the sum is not normalised, as in the paper.
        label_smoothing: Part of each target that is spread over all classes (of a label: over yes and no), in [0, 1); a
            regression has none.
        class_weights: What an example of each class counts (of a label: one that has it, PyTorch's ``pos_weight``);
            None for 1 each. The mean is over the examples, whatever their weights, so that a loss does not depend on
            what else is in the batch. A regression has none.
        focal_gamma: gamma of the focal loss, -w_y (1 - p_y)^gamma log p_y (Lin et al. 2017, arXiv:1708.02002, eq. 5):
            above 0, examples whose class is sure count less. A regression has none.

    Raises:
        ValueError: If the labels have another shape or kind, or one is out of range, or there is not one class weight
            per class.
    """
    if all_logits.shape[2] == 1:
        answers = at_least_float32(all_logits).squeeze(-1)
        targets = read_targets(labels, len(answers)).to(answers.dtype)
        losses = (answers - targets.unsqueeze(1)).square().mean(dim=0)
    else:
        losses = _cross_entropies(all_logits, labels, label_smoothing, class_weights, focal_gamma).mean(dim=0)
    return losses @ losses.new_tensor(weights)


def answer_loss(logits: Float[Tensor, "batch classes"], labels: Tensor) -> Float[Tensor, ""]:
    """Return the mean loss of one answer per example: `joint_loss` of a single head that weighs 1."""
    return joint_loss(logits.unsqueeze(1), labels, (1.0,))


def draw_answers(
    all_logits: Float[Tensor, "batch heads classes"], weights: Sequence[float]
) -> Float[Tensor, "batch classes"]:
    """Return for each example the logits of one head, drawn in proportion to the weights.

    A mean over the examples of any loss of these logits is in expectation the heads' weighted mean of that loss, and so
    are its gradients: for cross-entropy `joint_loss` over the sum of the weights.
    """
    batch, heads, _ = all_logits.shape
    if heads == 1:
        return all_logits[:, 0]
    chances = torch.tensor(weights, dtype=torch.float32).to(all_logits.device, non_blocking=True)
    drawn = chances.multinomial(batch, replacement=True)
    return all_logits[torch.arange(batch, device=all_logits.device), drawn]


def depth_weights(head_depths: Sequence[int]) -> tuple[float, ...]:
    """Return PABEE's weight of each head (Zhou et al. 2020, eq. 3): j / sum_j j, j its depth, counted from 1."""
    return tuple(depth / sum(head_depths) for depth in head_depths)


def routing_weights(
    all_logits: Float[Tensor, "batch heads classes"], multi_label: bool = False
) -> Float[Tensor, "batch heads"]:
    """Return how likely each example is to exit at each head: r_l = (1 - H_l) prod_{j<l} H_j.

    BEExformer (Ansar et al. 2024, arXiv:2412.05225) weighs the heads' losses by a soft routing of the examples; this is
    ours: the normalised entropy H_l is taken as the probability of staying after head l, and the last head takes the
    rest, prod_{j<L} H_j. Logits get no gradient from this, or a loss could be lowered by sending an example elsewhere.
    In a multi-label task the entropy is that of the least sure label, which is also what exits read.
    """
    answers = all_logits.detach()
    if multi_label:
        answers = sets_as_classes(answers.transpose(0, 1)).transpose(0, 1)
    stays = normalised_entropy(answers).clamp(0, 1)
    arrives = torch.cat((torch.ones_like(stays[:, :1]), stays[:, :-1].cumprod(1)), dim=1)
    leaves = torch.cat((1 - stays[:, :-1], torch.ones_like(stays[:, :1])), dim=1)
    return arrives * leaves


def routed_cross_entropy(
    all_logits: Float[Tensor, "batch heads classes"],
    labels: Tensor,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
    focal_gamma: float = 0.0,
) -> Float[Tensor, ""]:
    """Return the mean over the examples of sum_l r_l CE(P_l, y), in nats; r from ``routing_weights``.

    ``labels`` and the options of cross-entropy are those of `joint_loss`.
    """
    losses = _cross_entropies(all_logits, labels, label_smoothing, class_weights, focal_gamma)
    multi_label = is_multi_label(labels, all_logits.shape[2])
    return (losses * routing_weights(all_logits, multi_label)).sum(1).mean()


def distillation(
    logits: Float[Tensor, "batch classes"],
    teacher_logits: Float[Tensor, "batch classes"],
    temperature: float = 2.0,
    multi_label: bool = False,
) -> Float[Tensor, ""]:
    """Pull softened predictions towards a teacher's, EAT eq. 2 without mu: T^2 KL(P_teacher^T || P^T).

    T^2 keeps the size of the gradients independent of the temperature. With one output (a regression), where no softmax
    softens, it is the mean squared distance to the teacher's prediction. The teacher gets no gradient.

    Args:
        logits: The student's logits, or its predictions.
        teacher_logits: The teacher's, classes in the same order or predictions in the same unit.
        temperature: T, above 0; both sides' logits are divided by it.
        multi_label: Each output is a label with a sigmoid of its own: the mean over the labels of the divergence
            between the two sides' answers, yes or no.

    Raises:
        ValueError: If the temperature is not above 0.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    logits, teacher_logits = at_least_float32(logits), at_least_float32(teacher_logits.detach())
    if logits.shape[1] == 1:
        return F.mse_loss(logits, teacher_logits)
    if multi_label:  # each label is a question of two answers, with the logits 0 and z
        logits, teacher_logits = (
            torch.stack((torch.zeros_like(one), one), dim=-1).flatten(0, 1) for one in (logits, teacher_logits)
        )
    student, teacher = (F.log_softmax(one / temperature, dim=-1) for one in (logits, teacher_logits))
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def self_distillation(
    all_logits: Float[Tensor, "batch heads classes"], temperature: float = 2.0, multi_label: bool = False
) -> Float[Tensor, ""]:
    """Let the final head teach the early ones (FastBERT, Liu et al. 2020): their mean `distillation` to its answers.

    The last head teaches and gets no gradient from this; without early heads the loss is 0.
    """
    early, final = all_logits[:, :-1], all_logits[:, -1:]
    if early.shape[1] == 0:
        return all_logits.new_zeros(())
    classes = all_logits.shape[-1]
    teacher = final.expand_as(early).reshape(-1, classes)
    return distillation(early.reshape(-1, classes), teacher, temperature, multi_label)


def _cross_entropies(
    all_logits: Float[Tensor, "batch heads classes"],
    labels: Tensor,
    label_smoothing: float,
    class_weights: Sequence[float] | None,
    focal_gamma: float,
) -> Float[Tensor, "batch heads"]:
    batch, heads, classes = all_logits.shape
    if class_weights is not None and len(class_weights) != classes:
        raise ValueError(f"class_weights: expected one for each of {classes} classes, got {len(class_weights)}")
    if is_multi_label(labels, classes):
        return _binary_cross_entropies(all_logits, labels, label_smoothing, class_weights, focal_gamma)
    labels = read_classes(labels, batch, classes)
    logits, repeated = at_least_float32(all_logits).reshape(batch * heads, classes), labels.repeat_interleave(heads)
    losses = F.cross_entropy(
        logits, repeated, reduction="none", label_smoothing=label_smoothing, ignore_index=NOTHING_IGNORED
    )
    if focal_gamma > 0:
        log_right = F.log_softmax(logits, dim=-1).gather(1, repeated.unsqueeze(1)).squeeze(1)
        losses = losses * _doubt(log_right) ** focal_gamma
    if class_weights is not None:
        losses = losses * losses.new_tensor(class_weights)[repeated]
    return losses.view(batch, heads)


def _binary_cross_entropies(
    all_logits: Float[Tensor, "batch heads labels"],
    labels: Tensor,
    label_smoothing: float,
    pos_weight: Sequence[float] | None,
    focal_gamma: float,
) -> Float[Tensor, "batch heads"]:
    """Return each head's mean over the labels of -[w y log p + (1 - y) log(1 - p)], p the label's sigmoid."""
    batch, _, num_labels = all_logits.shape
    logits = at_least_float32(all_logits)
    truth = read_label_sets(labels, batch, num_labels).to(logits.dtype).unsqueeze(1).expand_as(logits)
    targets = truth * (1 - label_smoothing) + label_smoothing / 2
    weights = None if pos_weight is None else logits.new_tensor(pos_weight)
    losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none", pos_weight=weights)
    if focal_gamma > 0:
        losses = losses * _doubt(F.logsigmoid(torch.where(truth == 1, logits, -logits))) ** focal_gamma
    return losses.mean(-1)


def _doubt(log_right: Tensor) -> Tensor:
    """Return 1 - p of the right answer, no less than rounding, given log p.

    Where the answer is as good as sure, the slope of a power below 1 has no bound, and the loss is 0 anyway.
    """
    return (-torch.expm1(log_right)).clamp_min(torch.finfo(log_right.dtype).eps)
