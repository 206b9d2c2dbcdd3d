"""Packed rows in NumPy, and how a group of sequences attends: the indices and masks that a segment is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from eat.deployment.blocks import HIDDEN, NOTHING, block_inputs

ROWS_AT_ONCE = 128  # a product is as fast per row from about 100 rows on, and these stay in the cache

Layouts = dict[tuple[Any, ...], dict[str, np.ndarray]]
"""What `segment_inputs` returned for rows that lie like these."""


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """The live tokens of a batch, the sequences end to end, as `eat.packed.Packed` has them."""

    rows: np.ndarray  # (tokens, dim); (tokens, 0) before the first segment
    ids: np.ndarray  # (tokens,)
    types: np.ndarray  # (tokens,)
    positions: np.ndarray  # (tokens,) in the sequence as it came in
    protected: np.ndarray  # (tokens,) True on those that no pruner may drop
    example: np.ndarray  # (batch,) index in the batch that came in
    lengths: np.ndarray  # (batch,) live tokens
    extents: np.ndarray  # (batch,) tokens that came in
    num_protected: np.ndarray  # (batch,)
    received: np.ndarray | None = None  # (tokens,) attention received, where a segment reports it
    layouts: Layouts = dataclasses.field(default_factory=dict)  # shared by all whose tokens are the same

    @classmethod
    def start(cls, ids: np.ndarray, lengths: np.ndarray, types: np.ndarray, protected_id: int | None) -> Rows:
        """Return a batch before the first segment, the longest sequence first."""
        order = np.argsort(-lengths, kind="stable")
        first = lengths.cumsum() - lengths
        lengths = lengths[order]
        positions = np.arange(len(ids)) - np.repeat(lengths.cumsum() - lengths, lengths)
        source = np.repeat(first[order], lengths) + positions
        ids, types = ids[source], types[source]
        protected = positions == 0
        if protected_id is not None:
            protected |= ids == protected_id
        num_protected = np.add.reduceat(protected.astype(np.int64), lengths.cumsum() - lengths)
        rows = np.empty((len(ids), 0), dtype=np.float32)
        alone = len(lengths) == 1 and len(ids) <= ROWS_AT_ONCE and num_protected[0] == 1
        layouts = _lone_layouts(len(ids)) if alone else {}
        return cls(rows, ids, types, positions, protected, order, lengths, lengths, num_protected, layouts=layouts)

    @cached_property
    def starts(self) -> np.ndarray:
        """First row of each sequence: its [CLS]."""
        return self.lengths.cumsum() - self.lengths

    @cached_property
    def sequence(self) -> np.ndarray:
        """Sequence that each row belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def take(self, index: np.ndarray, **changes: Any) -> Rows:
        """Return some of the rows."""
        names = ("rows", "ids", "types", "positions", "protected")
        per_row = {name: getattr(self, name)[index] for name in names}
        received = None if self.received is None else self.received[index]
        return dataclasses.replace(self, **per_row, received=received, layouts={}, **changes)

    def keep_sequences(self, mask: np.ndarray) -> Rows:
        """Return the sequences where ``mask`` is True."""
        names = ("example", "lengths", "extents", "num_protected")
        per_sequence = {name: getattr(self, name)[mask] for name in names}
        return self.take(np.flatnonzero(mask[self.sequence]), **per_sequence)

    def groups(self) -> list[slice]:
        """Split the sequences into neighbours that run together, closed once they have `ROWS_AT_ONCE` rows."""
        bounds, rows = [0], 0
        for place, length in enumerate(self.lengths.tolist()):
            if rows >= ROWS_AT_ONCE:
                bounds.append(place)
                rows = 0
            rows += length
        return [slice(*pair) for pair in zip(bounds, [*bounds[1:], len(self.lengths)], strict=True)]


def segment_inputs(
    state: Rows, group: slice, attention: Mapping[str, Any], *, in_blocks: bool, masked: bool
) -> dict[str, np.ndarray]:
    """Return what a segment is given about a group of sequences, whatever the segment.

    ``in_blocks``: the segment can attend to a window in blocks; ``masked``: it needs the mask all the same.

    ``gather`` (batch, width) is the row of each place of the padded group, row 0 where it is padding, and ``scatter``
    the place of each row; ``mask`` is added to attention scores. Where nothing is hidden ``grouped`` is False, and the
    rows are attended as they lie, in the ``shape`` (batch, width, -1), what is left being queries, keys and values.
    """
    key = (group.start, attention["name"], attention.get("window"), in_blocks, masked)
    if key not in state.layouts:
        state.layouts[key] = _segment_inputs(state, group, attention, in_blocks=in_blocks, masked=masked)
    return state.layouts[key]


@lru_cache(maxsize=64)
def _lone_layouts(length: int) -> Layouts:
    """Return what was found for a sequence of this length that runs alone, with all of its tokens."""
    return {}


def _segment_inputs(
    state: Rows, group: slice, attention: Mapping[str, Any], *, in_blocks: bool, masked: bool
) -> dict[str, np.ndarray]:
    lengths = state.lengths[group]
    batch, width = len(lengths), int(lengths.max())
    first = int(state.starts[group.start])
    starts = lengths.cumsum() - lengths
    columns = np.arange(width)
    valid = columns < lengths[:, None]
    gather = np.where(valid, starts[:, None] + columns, 0)
    reach = attention["window"] // 2 if attention["name"] == "windowed" else None
    windowed = reach is not None and bool((state.extents[group] > reach + 1).any())
    grouped = windowed or not bool(valid.all())
    mask = np.zeros((1, 1, 1, 1), dtype=np.float32)
    blocks = NOTHING
    if windowed and in_blocks:
        tokens = slice(first, first + int(lengths.sum()))
        blocks = block_inputs(state.positions[tokens], state.protected[tokens], lengths, valid, reach or 0)
    if grouped and (masked or not blocks["blocked"]):
        visible = np.broadcast_to(valid[:, None], (batch, width, width))
        if windowed:
            positions, is_global = state.positions[first:][gather], state.protected[first:][gather]
            near = np.abs(positions[:, :, None] - positions[:, None]) <= reach
            visible = visible & (near | is_global[:, :, None] | is_global[:, None])
        mask = np.where(visible[:, None], np.float32(0), HIDDEN)
    return {
        "grouped": np.array(grouped),
        "shape": np.array([batch, width, -1]),
        "gather": gather,
        "scatter": np.flatnonzero(valid),
        "mask": mask,
        "valid": valid.astype(np.float32)[:, :, None],
        "share": (valid / lengths[:, None]).astype(np.float32)[:, :, None],
        "starts": starts,
        **blocks,
    }


def concatenated(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Join arrays; one alone is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
