"""Floating-point operations in closed form: a multiplication and an addition count as two."""


def block_flops(tokens: int, pairs: int, dim: int, intermediate_size: int) -> int:
    """Count the FLOPs of one encoder block.

    Four projections of dim x dim and two of dim x intermediate_size per token; Q K^T and the weighted sum of V per
    query-key pair. Element-wise work (norms, activations, softmax) is not counted, as in ``torch.utils.flop_counter``.
    """
    return 2 * tokens * (4 * dim * dim + 2 * dim * intermediate_size) + 4 * dim * pairs


def received_flops(pairs: int, dim: int) -> int:
    """Count the FLOPs of recomputing softmax(Q K^T), which the fused attention does not show."""
    return 2 * dim * pairs


def head_flops(dim: int, num_labels: int) -> int:
    """Count the FLOPs of one exit head for one sequence: dense layer and classifier."""
    return 2 * dim * (dim + num_labels)
