"""Packed rows in NumPy, and how a group of sequences attends: the indices and masks that a segment is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from eat.deployment.blocks import HIDDEN, NOTHING, block_inputs

ROWS_AT_ONCE = 128  # a product is as fast per row from about 100 rows on, and these stay in the cache
NO_MASK = np.zeros((1, 1, 1, 1), dtype=np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Neighbouring sequences that run together, and their rows."""

    sequences: slice
    tokens: slice
    layouts: dict[tuple[bool, bool], dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    """What `segment_inputs` returned for them."""


@dataclasses.dataclass(eq=False)
class Rows:
    """The live tokens of a batch, the sequences end to end, as `eat.packed.Packed` has them.

    A segment writes ``rows`` and ``received``; all else stays, so that what was found of it holds.
    """

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
        return cls(rows, ids, types, positions, protected, order, lengths, lengths, num_protected)

    @cached_property
    def starts(self) -> np.ndarray:
        """First row of each sequence: its [CLS]."""
        return self.lengths.cumsum() - self.lengths

    @cached_property
    def sequence(self) -> np.ndarray:
        """Sequence that each row belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def keep_tokens(self, index: np.ndarray, lengths: np.ndarray) -> Rows:
        """Return some of the rows, ``lengths`` of each sequence."""
        return self._taken(index, (self.example, lengths, self.extents, self.num_protected))

    def keep_sequences(self, mask: np.ndarray) -> Rows:
        """Return the sequences where ``mask`` is True."""
        of_sequences = [values[mask] for values in (self.example, self.lengths, self.extents, self.num_protected)]
        return self._taken(np.flatnonzero(mask[self.sequence]), of_sequences)

    def _taken(self, index: np.ndarray, of_sequences: Sequence[np.ndarray]) -> Rows:
        rows, ids, types, positions, protected = (
            values[index] for values in (self.rows, self.ids, self.types, self.positions, self.protected)
        )
        received = None if self.received is None else self.received[index]
        example, lengths, extents, num_protected = of_sequences
        return Rows(rows, ids, types, positions, protected, example, lengths, extents, num_protected, received)

    @cached_property
    def groups(self) -> list[Group]:
        """The sequences as neighbours that run together, a group closed once it has `ROWS_AT_ONCE` rows."""
        bounds, ends, rows = [0], [0], 0
        for place, length in enumerate(self.lengths.tolist()):
            if rows - ends[-1] >= ROWS_AT_ONCE:
                bounds.append(place)
                ends.append(rows)
            rows += length
        pairs = zip(pairwise([*bounds, len(self.lengths)]), pairwise([*ends, rows]), strict=True)
        return [Group(slice(*sequences), slice(*tokens)) for sequences, tokens in pairs]


def segment_inputs(
    state: Rows, group: Group, attention: Mapping[str, Any], *, in_blocks: bool, masked: bool
) -> dict[str, np.ndarray]:
    """Return what a segment is given about a group of sequences, whatever the segment.

    ``in_blocks``: the segment can attend to a window in blocks; ``masked``: it needs the mask all the same.

    ``gather`` (batch, width) is the row of each place of the padded group, row 0 where it is padding, and ``scatter``
    the place of each row; ``mask`` is added to attention scores. Where no place is ``padded`` the rows are attended as
    they lie, in the ``shape`` (batch, width, -1), what is left being queries, keys and values; where nothing is hidden
    either, ``grouped`` is False, without the mask.
    """
    found = group.layouts.get((in_blocks, masked))
    if found is None:
        found = group.layouts[in_blocks, masked] = _layout_of(state, group, attention, in_blocks, masked)
    return found


def _layout_of(
    state: Rows, group: Group, attention: Mapping[str, Any], in_blocks: bool, masked: bool
) -> dict[str, np.ndarray]:
    lengths, extents = state.lengths[group.sequences], state.extents[group.sequences]
    reach = attention["window"] // 2 if attention["name"] == "windowed" else None
    if reach is not None and (extents <= reach + 1).all():
        reach = None  # it hides nothing
    if len(lengths) == 1 and lengths[0] <= ROWS_AT_ONCE:
        plain = lengths[0] == extents[0] and state.num_protected[group.sequences][0] == 1
        if reach is None or plain:
            return _lone_layout(int(lengths[0]), reach, in_blocks, masked)
    return _layout(lengths, state.positions[group.tokens], state.protected[group.tokens], reach, in_blocks, masked)


@lru_cache(maxsize=256)
def _lone_layout(length: int, reach: int | None, in_blocks: bool, masked: bool) -> dict[str, np.ndarray]:
    """Return the layout of a sequence that runs alone, with all of its tokens where a window hides some."""
    positions = np.arange(length)
    return _layout(np.array([length]), positions, positions == 0, reach, in_blocks, masked)


def _layout(
    lengths: np.ndarray,
    positions: np.ndarray,
    protected: np.ndarray,
    reach: int | None,
    in_blocks: bool,
    masked: bool,
) -> dict[str, np.ndarray]:
    """Return what `segment_inputs` does; tokens see each other up to ``reach`` apart, where that is a number."""
    batch, width = len(lengths), int(lengths.max())
    starts = lengths.cumsum() - lengths
    columns = np.arange(width)
    valid = columns < lengths[:, None]
    padded = len(positions) < batch * width
    gather = np.where(valid, starts[:, None] + columns, 0)
    mask, blocks = NO_MASK, NOTHING
    if in_blocks and reach is not None:
        blocks = block_inputs(positions, protected, lengths, valid, reach)
    if (padded or reach is not None) and (masked or not blocks["blocked"]):
        visible = np.broadcast_to(valid[:, None], (batch, width, width))
        if reach is not None:
            visible = visible & _near(positions[gather], protected[gather], reach)
        mask = np.where(visible, np.float32(0), HIDDEN)[:, None]
    return {
        "grouped": np.array(padded or reach is not None),
        "padded": np.array(padded),
        "shape": np.array([batch, width, -1]),
        "gather": gather,
        "scatter": np.flatnonzero(valid),
        "mask": mask,
        "valid": valid.astype(np.float32)[:, :, None],
        "share": (valid / lengths[:, None]).astype(np.float32)[:, :, None],
        "starts": starts,
        **blocks,
    }


def _near(positions: np.ndarray, is_global: np.ndarray, reach: int) -> np.ndarray:
    """Return which keys each query of (batch, width) may see: (batch, queries, keys)."""
    near = np.abs(positions[:, :, None] - positions[:, None]) <= reach
    near |= is_global[:, :, None]
    near |= is_global[:, None]
    return near


def concatenated(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Join arrays; one alone is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
