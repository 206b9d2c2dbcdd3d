"""Training losses over the exit heads, as pure functions; EAT's equations 1 and 2 (arXiv:2510.12856) and others'."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from eat.ops.confidence import normalised_entropy


def joint_cross_entropy(
    all_logits: Float[Tensor, "batch heads classes"],
    labels: Int[Tensor, " batch"],
    weights: Float[Tensor, " heads"],
) -> Float[Tensor, ""]:
    """Weighted sum over the heads of their mean cross-entropy, EAT eq. 1: sum_l lambda_l CE(P_l, y).

    Args:
        all_logits: Logits of every head, the last head last.
        labels: Class of each example, in [0, classes).
        weights: lambda of each head; the sum is not normalised, as in the paper.

    Returns:
        The loss in nats.
    """
    losses = _cross_entropies(all_logits, labels).mean(dim=0)
    return losses @ weights.to(losses)


def joint_mean_squared_error(
    all_logits: Float[Tensor, "batch heads 1"],
    labels: Float[Tensor, " batch"],
    weights: Float[Tensor, " heads"],
) -> Float[Tensor, ""]:
    """Weighted sum over the heads of their mean squared error: eq. 1 for a regression task.

    Args:
        all_logits: Prediction of every head, in the unit of the labels, the last head last.
        labels: Target of each example.
        weights: lambda of each head.

    Returns:
        The loss, in the labels' unit squared.
    """
    errors = _precise(all_logits).squeeze(-1) - labels.unsqueeze(1)
    squared = errors.square().mean(dim=0)
    return squared @ weights.to(squared)


def depth_weights(head_depths: Sequence[int]) -> tuple[float, ...]:
    """Return PABEE's weight of each head (Zhou et al. 2020, eq. 3): j / sum_j j, j its depth.

    Args:
        head_depths: Depths of the heads, from 1.

    Returns:
        Weights that add up to 1.
    """
    return tuple(depth / sum(head_depths) for depth in head_depths)


def routing_weights(all_logits: Float[Tensor, "batch heads classes"]) -> Float[Tensor, "batch heads"]:
    """Return how likely each example is to leave at each head: r_l = (1 - H_l) prod_{j<l} H_j.

    BEExformer (Ansar et al. 2024, arXiv:2412.05225) weighs the heads' losses by a soft routing of the examples; this is
    ours: the normalised entropy H_l is taken as the probability of staying after head l, and the last head takes the
    rest, prod_{j<L} H_j.

    Args:
        all_logits: Logits of every head, the last head last; they get no gradient from this, or a loss could be
            lowered by sending an example elsewhere.

    Returns:
        Weights in [0, 1] that add up to 1 for each example.
    """
    stays = normalised_entropy(all_logits.detach()).clamp(0, 1)
    arrives = torch.cat((torch.ones_like(stays[:, :1]), stays[:, :-1].cumprod(1)), dim=1)
    leaves = torch.cat((1 - stays[:, :-1], torch.ones_like(stays[:, :1])), dim=1)
    return arrives * leaves


def routed_cross_entropy(
    all_logits: Float[Tensor, "batch heads classes"], labels: Int[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """Return the mean over the examples of sum_l r_l CE(P_l, y), r from ``routing_weights``.

    Args:
        all_logits: Logits of every head, the last head last.
        labels: Class of each example, in [0, classes).

    Returns:
        The loss in nats.
    """
    return (_cross_entropies(all_logits, labels) * routing_weights(all_logits)).sum(1).mean()


def distillation(
    logits: Float[Tensor, "batch classes"],
    teacher_logits: Float[Tensor, "batch classes"],
    temperature: float = 2.0,
) -> Float[Tensor, ""]:
    """Pull softened predictions towards a teacher's, EAT eq. 2 without mu: T^2 KL(P_teacher^T || P^T).

    T^2 keeps the size of the gradients independent of the temperature. The teacher gets no gradient.

    Args:
        logits: The student's logits.
        teacher_logits: The teacher's logits, classes in the same order.
        temperature: T, above 0; both sides' logits are divided by it.

    Returns:
        The mean over the batch, in nats.

    Raises:
        ValueError: If the temperature is not above 0.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    student = F.log_softmax(_precise(logits) / temperature, dim=-1)
    teacher = F.log_softmax(_precise(teacher_logits.detach()) / temperature, dim=-1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def regression_distillation(
    predictions: Float[Tensor, "batch 1"], teacher_predictions: Float[Tensor, "batch 1"]
) -> Float[Tensor, ""]:
    """Mean squared distance to a teacher's prediction: eq. 2 for a regression task, where no softmax softens.

    Args:
        predictions: The student's predictions.
        teacher_predictions: The teacher's, in the same unit; they get no gradient.

    Returns:
        The loss, in the labels' unit squared.
    """
    return F.mse_loss(_precise(predictions), _precise(teacher_predictions.detach()))


def self_distillation(all_logits: Float[Tensor, "batch heads classes"], temperature: float = 2.0) -> Float[Tensor, ""]:
    """Let the final head teach the early ones (FastBERT, Liu et al. 2020): mean over them of T^2 KL(P_L^T || P_l^T).

    Args:
        all_logits: Logits of every head, the last head last; it teaches and gets no gradient from this.
        temperature: T, above 0.

    Returns:
        The mean over early heads and batch, in nats; 0 without early heads.

    Raises:
        ValueError: If the temperature is not above 0.
    """
    early, final = all_logits[:, :-1], all_logits[:, -1:]
    if early.shape[1] == 0:
        return all_logits.new_zeros(())
    classes = all_logits.shape[-1]
    return distillation(early.reshape(-1, classes), final.expand_as(early).reshape(-1, classes), temperature)


def regression_self_distillation(all_logits: Float[Tensor, "batch heads 1"]) -> Float[Tensor, ""]:
    """Let the final head teach the early ones in a regression task: mean squared distance to its prediction.

    Args:
        all_logits: Prediction of every head, the last head last; it gets no gradient from this.

    Returns:
        The mean over early heads and batch; 0 without early heads.
    """
    early, final = all_logits[:, :-1], all_logits[:, -1:]
    if early.shape[1] == 0:
        return all_logits.new_zeros(())
    return regression_distillation(early.reshape(-1, 1), final.expand_as(early).reshape(-1, 1))


def _cross_entropies(
    all_logits: Float[Tensor, "batch heads classes"], labels: Int[Tensor, " batch"]
) -> Float[Tensor, "batch heads"]:
    batch, heads, classes = all_logits.shape
    losses = F.cross_entropy(
        _precise(all_logits).reshape(batch * heads, classes), labels.repeat_interleave(heads), reduction="none"
    )
    return losses.view(batch, heads)


def _precise(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Lift half precision, which mixed-precision training hands over, to float32; a loss needs its digits."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
