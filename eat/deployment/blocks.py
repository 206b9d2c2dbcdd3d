"""Windowed attention in blocks: a block of queries is given the keys that it may see, and global tokens see all.

What `eat.attention.windowed` computes in torch, as indices and masks for an exported segment: work and memory then grow
with the length of a text, not with its square.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

HIDDEN = np.float32(-1e30)  # added to scores that must not count; finite, so that no NaN can come of it
LEAST_QUERIES = 32  # a block of fewer would mostly gather

NOTHING = {
    "blocked": np.array(False),
    "block_queries": np.zeros((1, 1), dtype=np.int64),
    "block_keys": np.zeros((1, 1), dtype=np.int64),
    "block_mask": np.zeros((1, 1, 1, 1), dtype=np.float32),
    "global_queries": np.zeros((1, 1), dtype=np.int64),
    "global_mask": np.zeros((1, 1, 1, 1), dtype=np.float32),
    "block_places": np.zeros(1, dtype=np.int64),
}
"""What a segment is given where attention runs on whole sequences."""


def block_inputs(
    positions: np.ndarray, is_global: np.ndarray, lengths: np.ndarray, valid: np.ndarray, reach: int
) -> dict[str, np.ndarray]:
    """Return the blocks of a group of sequences, or `NOTHING` where they save less than half of the pairs.

    ``block_queries`` (blocks, queries) and ``block_keys`` (blocks, keys) are rows of the group, ``global_queries``
    (batch, globals) those of global tokens, whose keys are all of their sequence; masks are added to scores.
    ``block_places`` (tokens,) says where each row's result stands among those of the blocks, then of global tokens.

    Args:
        positions: (tokens,) in the sequences as they came in, ascending in each.
        is_global: (tokens,) True on those that see all and are seen by all.
        lengths: (batch,) live tokens of each sequence; they stand end to end.
        valid: (batch, width) True where the padded group holds a token.
        reach: How far apart tokens may be that see each other.
    """
    size, (batch, width) = max(2 * reach, LEAST_QUERIES), valid.shape
    # Each block sees itself at least: what cannot save half is found out before any block is made.
    count = int((-(-lengths // size)).sum())
    if width <= size or 2 * (count * size**2 + batch * width) > batch * width**2:
        return NOTHING
    queries, keys, all_global = [], [], []
    for start, length in zip(lengths.cumsum() - lengths, lengths, strict=True):
        rows = slice(start, start + length)
        own, marked = positions[rows], np.flatnonzero(is_global[rows])
        all_global.append(start + marked)
        for first in range(0, length, size):
            last = min(first + size, length)
            low, high = np.searchsorted(own, (own[first] - reach, own[last - 1] + reach + 1))
            outside = marked[(marked < low) | (marked >= high)]
            queries.append(start + np.arange(first, last))
            keys.append(start + np.concatenate((np.arange(low, high), outside)))
    (q, q_valid), (k, k_valid), (g, g_valid) = map(_padded, (queries, keys, all_global))
    if 2 * (q.size * k.shape[1] + g.size * valid.shape[1]) > valid.size * valid.shape[1]:
        return NOTHING
    near = np.abs(positions[q][:, :, None] - positions[k][:, None]) <= reach
    visible = (near | is_global[k][:, None]) & k_valid[:, None]
    places = np.empty(len(positions), dtype=np.int64)
    places[q[q_valid]] = np.flatnonzero(q_valid)
    places[g[g_valid]] = q.size + np.flatnonzero(g_valid)
    everything = np.broadcast_to(valid[:, None, None], (len(g), 1, g.shape[1], valid.shape[1]))
    return {
        "blocked": np.array(True),
        "block_queries": q,
        "block_keys": k,
        "block_mask": np.where(visible[:, None], np.float32(0), HIDDEN),
        "global_queries": g,
        "global_mask": np.where(everything, np.float32(0), HIDDEN),
        "block_places": places,
    }


def _padded(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of numbers side by side, 0 where one is shorter, and where it is not."""
    lengths = np.array([len(row) for row in rows])
    valid = np.arange(lengths.max()) < lengths[:, None]
    table = np.zeros(valid.shape, dtype=np.int64)
    table[valid] = np.concatenate(rows)
    return table, valid
