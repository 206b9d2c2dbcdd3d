"""Calibrate a head by temperature scaling: one number divides its logits."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from eat.ops.labels import read_classes

MAX_TEMPERATURE = 20.0  # temperatures are looked for in [1 / 20, 20]


def fit_temperature(logits: Float[Tensor, "examples classes"], labels: Tensor) -> float:
    """Return T in [1 / 20, 20] for which softmax(logits / T) has the least cross-entropy, or 1 where there is none.

    A head that is right on every example would be the better the surer it is, and one that knows nothing the less sure;
    either would lose the order of its confidences to rounding. Such heads stay as they are.

    Temperature scaling, Guo et al. 2017 (arXiv:1706.04599, section 4.2). The cross-entropy is convex in 1 / T, so it
    has one minimum. L-BFGS looks for it in log T, in float64.

    Args:
        logits: Of each example.
        labels: (examples,) or (examples, 1), the class of each.

    Raises:
        ValueError: If labels are misshapen or out of range, fewer than two classes are among them, or logits are not
            finite.
    """
    labels = read_classes(labels, *logits.shape)
    if labels.unique().numel() < 2:
        raise ValueError(f"labels: expected examples of two classes or more, got {labels.unique().tolist()}")
    if not bool(logits.isfinite().all()):
        raise ValueError("logits: expected finite numbers, got NaN or infinite ones")
    logits = logits.double()

    def loss(log_temperature: Tensor) -> Tensor:
        return F.cross_entropy(logits / log_temperature.exp(), labels)

    limit = torch.tensor(MAX_TEMPERATURE, dtype=torch.float64).log()
    for end in (-limit, limit):  # the loss still falls where the range ends
        slope = torch.func.grad(loss)(end)
        if float(slope * end.sign()) <= 0:
            return 1.0
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        value = loss(log_temperature)
        value.backward()
        return float(value.detach())

    optimizer.step(closure)
    return float(log_temperature.detach().clamp(-limit, limit).exp())
