"""Fit one linear score per class that tells its texts from all others: the half-space of a sufficient rule."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import softplus

PENALTY = 1e-3
"""Weight of half the squared norm of w, on standardised features, beside the mean loss."""
CONSTANT = 1e-6
"""A feature whose deviation is below this share of the largest is constant: [CLS] behind the embeddings is."""


def fit_scores(
    rows: Float[Tensor, "examples dim"], is_class: Bool[Tensor, "examples classes"], cost: float
) -> Float[Tensor, "classes dim"]:
    """Return w of each class, for scores w . row: logistic regression in which texts of other classes cost more.

    With s = w . x + b on standardised x, and y = 1 for the class, it minimises
    sum y softplus(-s) + cost (1 - y) softplus(s), over the sum of the weights, plus `PENALTY` / 2 |w|^2. The intercept
    is left out of what comes back: a rule's threshold takes its place. How moco (compressmodels.github.io) fits its
    "linear sufficient rules" is not public, and it reads flattened rows; this stands for it on pooled ones.

    Args:
        rows: Pooled rows.
        is_class: True where the model answers the class at full depth; both values in every column.
        cost: What a text of another class costs, at least 1.
    """
    rows = rows.double()
    deviation = rows.std(0)
    varies = deviation > CONSTANT * deviation.max()
    scale = torch.where(varies, deviation, 1.0)
    features = torch.where(varies, (rows - rows.mean(0)) / scale, 0.0)
    y = is_class.double()
    importance = y + cost * (1 - y)
    w = torch.zeros(is_class.shape[1], rows.shape[1], dtype=torch.float64, requires_grad=True)
    b = torch.zeros(is_class.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([w, b], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        s = features @ w.T + b
        losses = (importance * softplus(torch.where(is_class, -s, s))).sum(0) / importance.sum(0)
        total = (losses + PENALTY / 2 * (w**2).sum(1)).sum()
        total.backward()
        return total

    optimizer.step(loss)
    return (w.detach() / scale).float()
