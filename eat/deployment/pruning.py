"""Pruning in NumPy: what `eat.pruners` and `eat.ops.selection` keep, where there is no torch.

Names and arguments are those of `eat.pruners`; `tests/deployment` compares both.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from eat.checks import number, one_of, several, shown, whole_number, whole_numbers
from eat.deployment.rows import Rows

SCORE_BITS = 16  # as in eat.ops.selection: scores that are equal but for rounding are equal
_WRAP = 2**64


def l2_norm(state: Rows, spec: Mapping[str, Any], depth: int) -> np.ndarray:
    """Return ||h_i|| / sqrt(dim)."""
    norms = np.sqrt(np.einsum("td,td->t", state.rows, state.rows))
    return norms / np.float32(math.sqrt(state.rows.shape[1]))


def attention_received(state: Rows, spec: Mapping[str, Any], depth: int) -> np.ndarray:
    """Return the attention that the segment reported."""
    assert state.received is not None
    return state.received


def random(state: Rows, spec: Mapping[str, Any], depth: int) -> np.ndarray:
    """Return SplitMix64 of (seed, depth, position, token id) as a number in [0, 1)."""
    start = (spec["seed"] * 0x9E3779B97F4A7C15 + depth * 0xD1B54A32D192ED03) % _WRAP
    mixed = np.full(len(state.ids), start, dtype=np.uint64)
    for value in (state.positions, state.ids):
        mixed = mixed + (value.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed & np.uint64((1 << 53) - 1)).astype(np.float64) / 2**53


SCORES: Mapping[str, Callable[[Rows, Mapping[str, Any], int], np.ndarray]] = {
    "l2_norm": l2_norm,
    "attention_received": attention_received,
    "random": random,
}


def check_pruner(spec: Mapping[str, Any]) -> None:
    """Refuse a pruner that is not known here, such as one of another package, or arguments that it cannot have."""
    if one_of("pruner.name", spec.get("name"), ["none", *SCORES]) == "none":
        return
    depths = whole_numbers("pruner.depths", spec.get("depths"))
    ratios = several("pruner.ratio", spec.get("ratio"), "[0.3]")
    if len(depths) != len(ratios) or depths != sorted({*depths}):
        raise ValueError(f"pruner.ratio: expected one for each of ascending depths {depths}, got {shown(ratios)}")
    for ratio in ratios:
        number("pruner.ratio", ratio, at_least=0, below=1)
    whole_number("pruner.min_tokens", spec.get("min_tokens"), at_least=0)
    number("pruner.min_retention", spec.get("min_retention"), at_least=0, at_most=1)
    if spec["name"] == "random" and (isinstance(spec.get("seed"), bool) or not isinstance(spec.get("seed"), int)):
        raise ValueError(f"pruner.seed: expected an integer, got {shown(spec.get('seed'))}")


def prune(state: Rows, spec: Mapping[str, Any], depth: int) -> Rows:
    """Return the rows that stay after a depth at which the pruner acts."""
    counts = keep_counts(state, spec, spec["ratio"][list(spec["depths"]).index(depth)])
    if (counts == state.lengths).all():
        return state
    scores = rounded(SCORES[spec["name"]](state, spec, depth))
    scores = np.where(state.protected, np.inf, scores)
    if len(counts) == 1:
        kept = np.argsort(-scores, kind="stable")[: counts[0]]
    else:  # by sequence, then the best first; as above, of equal scores the earlier
        order = np.lexsort((-scores, state.sequence))
        rank = np.arange(len(order)) - np.repeat(state.starts, state.lengths)
        kept = order[rank < np.repeat(counts, state.lengths)]
    return state.keep_tokens(np.sort(kept), counts)


def keep_counts(state: Rows, spec: Mapping[str, Any], ratio: float) -> np.ndarray:
    """Count the tokens that stay in each sequence (EAT's Algorithm 1, as `RankedPruner.lengths_after`)."""
    others = state.lengths - state.num_protected
    kept = others - (ratio * others + 1e-9).astype(np.int64)
    counts = state.num_protected + np.minimum(others, np.maximum(kept, spec["min_tokens"]))
    floors = np.ceil(spec["min_retention"] * state.extents - 1e-9).astype(np.int64)
    return np.maximum(counts, np.minimum(state.lengths, floors))


def rounded(scores: np.ndarray) -> np.ndarray:
    """Round to `SCORE_BITS` significant binary digits, to the nearest, halves away from zero."""
    whole: Any = np.int64 if scores.dtype == np.float64 else np.int32
    dropped = (53 if scores.dtype == np.float64 else 24) - SCORE_BITS
    bits = scores.view(whole) + whole(1 << (dropped - 1))
    return np.asarray(bits & whole(-1 << dropped)).view(scores.dtype)
