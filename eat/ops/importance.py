"""Importance scores of tokens; higher is kept first. Computed in float32 or better."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eat.ops.precision import at_least_float32


def l2_norm(rows: Float[Tensor, "tokens dim"]) -> Float[Tensor, " tokens"]:
    """Return ||h_i||_2 of each hidden state (EAT, arXiv:2510.12856, section on progressive pruning)."""
    return torch.linalg.vector_norm(at_least_float32(rows), dim=1)


def hashed(
    positions: Int[Tensor, " tokens"], token_ids: Int[Tensor, " tokens"], *, depth: int, seed: int
) -> Float[Tensor, " tokens"]:
    """Return scores in [0, 1) that look random but depend on (seed, depth, position, token id) alone.

    No global generator is used, so a token's fate is the same in any batch. The mixing steps are those of SplitMix64
    (Steele, Lea and Flood 2014) in wrapping 64-bit arithmetic.
    """
    state = torch.full_like(positions, _signed((seed * 0x9E3779B97F4A7C15 + depth * 0xD1B54A32D192ED03) % 2**64))
    for value in (positions, token_ids):
        state = state + (value + 1) * _signed(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            state = (state ^ _shift_right(state, shift)) * _signed(factor)
        state = state ^ _shift_right(state, 31)
    return (state & ((1 << 53) - 1)).double() / 2**53


def _shift_right(state: Int[Tensor, " tokens"], bits: int) -> Int[Tensor, " tokens"]:
    """Shift as if unsigned: torch's int64 shift repeats the sign bit."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
