"""EAT's cost model, fitted to costs that were counted or measured."""

import dataclasses

import numpy as np
from jaxtyping import Float, Num
from scipy.optimize import nnls


@dataclasses.dataclass(frozen=True)
class CostFit:
    """Coefficients of EAT's eq. 4 and 5, and how far the model then is from what it was fitted to."""

    alpha: float  # cost of a query-key pair of full attention, in eq. 4
    alpha_adaptive: float  # alpha' of eq. 5
    beta: float  # cost of a token in a block, the same in both
    dense: Float[np.ndarray, " dense"]  # what eq. 4 predicts
    adaptive: Float[np.ndarray, " adaptive"]  # what eq. 5 predicts
    dense_error: float  # mean of |predicted - cost| / cost
    adaptive_error: float  # likewise


def fit_cost_model(
    lengths: Num[np.ndarray, " dense"],
    num_layers: int,
    dense_costs: Num[np.ndarray, " dense"],
    tokens: Num[np.ndarray, "adaptive layers"],
    window: int | None,
    adaptive_costs: Num[np.ndarray, " adaptive"],
) -> CostFit:
    """Fit EAT's cost model (arXiv:2510.12856, eq. 4 and 5) to costs of sequences, each with the same relative weight.

        E[C_dense] = sum_l (alpha E[T_l^2] + beta E[T_l])                           (4)
        E[C_EAT]   = sum_l Pr(L' >= l) (alpha' E[T_l] k + beta E[T_l])               (5)

    The expectation over sequences of the costs below is eq. 4 and 5: a sequence counts in block l where it reaches it.
    Without a window, k is the tokens of the block, T_l. The three coefficients are fitted together by non-negative
    least squares of the relative residuals: within eq. 5 alone, with one k, alpha' and beta cannot be told apart. The
    model has no cost of a call and no global token, and its k is the window even where a text is shorter.

    Args:
        lengths: Tokens of each sequence in the dense encoder: T_l in every layer.
        num_layers: Layers of the dense encoder.
        dense_costs: FLOPs or time of each, above 0.
        tokens: Tokens of each sequence in each block of the adaptive encoder, 0 where it has left.
        window: k, the width of the attention window; None for full attention.
        adaptive_costs: FLOPs or time of each, above 0.

    Raises:
        ValueError: If a cost is not above 0, or there are none.
    """
    if min(len(dense_costs), len(adaptive_costs)) == 0 or min(dense_costs.min(), adaptive_costs.min()) <= 0:
        raise ValueError("costs: expected at least one of each encoder, all above 0")
    lengths, tokens = lengths.astype(float), tokens.astype(float)
    pairs = tokens**2 if window is None else tokens * window
    nothing = np.zeros(len(lengths))
    dense_terms = np.stack([num_layers * lengths**2, nothing, num_layers * lengths], axis=1)
    adaptive_terms = np.stack([np.zeros(len(tokens)), pairs.sum(axis=1), tokens.sum(axis=1)], axis=1)
    terms, costs = np.concatenate([dense_terms, adaptive_terms]), np.concatenate([dense_costs, adaptive_costs])
    relative = terms / costs[:, None]
    scale = relative.max(axis=0)
    scale[scale == 0] = 1.0
    coefficients = nnls(relative / scale, np.ones(len(costs)))[0] / scale
    dense, adaptive = dense_terms @ coefficients, adaptive_terms @ coefficients
    alpha, alpha_adaptive, beta = map(float, coefficients)
    errors = [float(np.mean(np.abs(p - c) / c)) for p, c in ((dense, dense_costs), (adaptive, adaptive_costs))]
    return CostFit(alpha, alpha_adaptive, beta, dense, adaptive, *errors)
