"""Packed rows: a batch as one matrix of live tokens, and the output of a model.

All sequences of a batch stand end to end in ``rows (tokens, dim)``; nothing is padded. Pruning tokens and letting whole
sequences exit are the same act: rows are selected, and everything that is known per row or per sequence follows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers.utils.generic import ModelOutput

T = TypeVar("T")

# The fields of `Packed` in their order: tensors with one entry a row, then values on the host, one a sequence.
_PER_ROW = ("rows", "token_ids", "positions", "protected")
_PER_SEQUENCE = ("example", "host_lengths", "extents", "num_protected")


@dataclasses.dataclass(frozen=True, eq=False)
class Packed:
    """The live rows of a batch.

    The counts (``host_lengths``, ``extents``, ``num_protected``) are plain integers on the host: how many tokens a
    pruner keeps follows from them alone, so that pruning never waits for the device.

    Attributes:
        rows: Hidden states, one row a live token; the sequences stand end to end.
        token_ids: Vocabulary index of each row.
        positions: Column of each row in the padded input; it grows within a sequence and keeps its value when others
            are pruned.
        protected: True on tokens that no pruner may drop: [CLS], and [SEP] where it is global. These are also the
            global tokens of windowed attention.
        example: Index in the batch that came in, for each sequence; on the host.
        host_lengths: Live tokens of each sequence.
        extents: Last position minus first position plus one of each sequence as it came in.
        num_protected: Protected tokens of each sequence.
        received: Attention that each row received, mean over heads and sum over live queries; None unless a pruner
            asked.
    """

    rows: Float[Tensor, "tokens dim"]
    token_ids: Int[Tensor, " tokens"]
    positions: Int[Tensor, " tokens"]
    protected: Bool[Tensor, " tokens"]
    example: tuple[int, ...]
    host_lengths: tuple[int, ...]
    extents: tuple[int, ...]
    num_protected: tuple[int, ...]
    received: Float[Tensor, " tokens"] | None = None
    _cache: dict[tuple[object, str], Any] = dataclasses.field(default_factory=dict, repr=False)

    @classmethod
    def start(
        cls,
        rows: Float[Tensor, "tokens dim"],
        token_ids: Int[Tensor, " tokens"],
        positions: Int[Tensor, " tokens"],
        host_lengths: Sequence[int],
        *,
        contiguous: bool,
        protected_id: int | None = None,
    ) -> Packed:
        """Return the record of a batch before the first block.

        Args:
            rows: Embedded tokens; the sequences stand end to end.
            token_ids: Vocabulary index of each row.
            positions: Column of each row in the padded input.
            host_lengths: Tokens of each sequence, at least one.
            contiguous: True where each sequence's positions have no holes, so that its extent is its length.
            protected_id: Tokens with this id are protected besides each sequence's first, its [CLS].
        """
        state = cls(
            rows=rows,
            token_ids=token_ids,
            positions=positions,
            protected=torch.zeros_like(token_ids, dtype=torch.bool),
            example=tuple(range(len(host_lengths))),
            host_lengths=tuple(host_lengths),
            extents=tuple(host_lengths),
            num_protected=(1,) * len(host_lengths),
        )
        if len(host_lengths) > 1:
            state.protected.index_fill_(0, state.starts, True)  # [starts] = True would wait for the device
        else:
            state.protected[:1].fill_(True)
        if not contiguous:
            ends = state.starts + state.lengths - 1
            state = dataclasses.replace(state, extents=tuple((positions[ends] - positions[state.starts] + 1).tolist()))
        if protected_id is not None:
            protected = state.protected | (token_ids == protected_id)
            counts = count_per_sequence(protected, state.sequence, len(host_lengths))
            state = dataclasses.replace(state, protected=protected, num_protected=tuple(counts))
        return state

    @property
    def lengths(self) -> Int[Tensor, " batch"]:
        """Live tokens of each sequence, on the device."""
        return self.cached(Packed, "lengths", self._lengths_on_device)

    def _lengths_on_device(self) -> Int[Tensor, " batch"]:
        device = self.rows.device
        if len(self.host_lengths) == 1:  # filled in by the device, which also works while a CUDA graph is recorded
            return torch.full((1,), self.host_lengths[0], device=device)
        # torch.tensor(..., device=) would wait until the device is idle.
        return torch.tensor(self.host_lengths).to(device, non_blocking=True)

    @property
    def sequence(self) -> Int[Tensor, " tokens"]:
        """Index of the sequence that each row belongs to."""
        return self.cached(Packed, "sequence", self._sequence_of_rows)

    def _sequence_of_rows(self) -> Int[Tensor, " tokens"]:
        sequences = torch.arange(len(self.host_lengths), device=self.rows.device)
        return torch.repeat_interleave(sequences, self.lengths, output_size=self.token_ids.shape[0])

    @property
    def starts(self) -> Int[Tensor, " batch"]:
        """Row at which each sequence starts: its [CLS]."""
        return self.cached(Packed, "starts", lambda: self.lengths.cumsum(0) - self.lengths)

    def cached(self, part: object, name: str, make: Callable[[], T]) -> T:
        """Return what ``make`` made for this set of rows: made once, and shared by all blocks until a row is pruned.

        Args:
            part: The part that makes it; blocks whose parts differ, as two windows do, each have their own.
            name: Its name within the part.
            make: Makes it.
        """
        key = (part, name)
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    def uncached(self) -> Packed:
        """Return the same rows with nothing remembered that was made for them."""
        return self._changed(_cache={})

    def with_rows(self, rows: Float[Tensor, "tokens dim"], received: Float[Tensor, " tokens"] | None = None) -> Packed:
        """Return the same tokens with new hidden states."""
        return self._changed(rows=rows, received=received)

    def keep_tokens(self, mask: Bool[Tensor, " tokens"], host_lengths: Sequence[int] | None = None) -> Packed:
        """Return the rows where ``mask`` is True.

        Args:
            mask: True on tokens that stay; at least one of each sequence.
            host_lengths: How many stay in each sequence, where that is known without looking at the mask.

        Raises:
            ValueError: If a sequence would lose its last token.
        """
        if host_lengths is None:
            host_lengths = count_per_sequence(mask, self.sequence, len(self.host_lengths))
        if tuple(host_lengths) == self.host_lengths:
            return self
        if min(host_lengths) < 1:
            raise ValueError(f"mask: expected at least one token kept in each sequence, got {list(host_lengths)}")
        index = true_indices(mask, sum(host_lengths))
        return self._select_rows(index, host_lengths=tuple(host_lengths))

    def keep_sequences(self, mask: Bool[Tensor, " batch"], stays: Sequence[bool] | None = None) -> Packed:
        """Return the sequences where ``mask`` is True.

        Args:
            mask: True on sequences that stay.
            stays: The mask on the host, where it was read before; else it is read here, which waits for the device.
        """
        if stays is None:
            stays = mask.tolist()
        if all(stays):
            return self
        kept = [index for index, stay in enumerate(stays) if stay]
        per_sequence = {name: tuple(getattr(self, name)[index] for index in kept) for name in _PER_SEQUENCE}
        rows = true_indices(mask.index_select(0, self.sequence), sum(per_sequence["host_lengths"]))
        return self._select_rows(rows, **per_sequence)

    def split(self) -> list[Packed]:
        """Return each sequence as a record of its own; its rows are copied, so that one does not keep all in memory."""
        lengths = list(self.host_lengths)
        per_row = [getattr(self, name).split(lengths) for name in _PER_ROW]
        per_sequence = [[(value,) for value in getattr(self, name)] for name in _PER_SEQUENCE]
        received = [None] * len(lengths) if self.received is None else self.received.split(lengths)
        return [Packed(rows.clone(), *others) for rows, *others in zip(*per_row, *per_sequence, received, strict=True)]

    @classmethod
    def join(cls, states: Sequence[Packed]) -> Packed:
        """Return the sequences of several records end to end.

        Args:
            states: At least one; ``received`` is filled in all of them or in none.
        """
        received = [state.received for state in states if state.received is not None]
        per_row: list[Any] = [torch.cat([getattr(state, name) for state in states]) for name in _PER_ROW]
        per_sequence = (chain.from_iterable(getattr(state, name) for state in states) for name in _PER_SEQUENCE)
        return cls(*[*per_row, *map(tuple, per_sequence), torch.cat(received) if received else None])

    def _select_rows(self, index: Int[Tensor, " kept"], **changes: Any) -> Packed:
        per_row = {name: getattr(self, name).index_select(0, index) for name in _PER_ROW}
        received = None if self.received is None else self.received.index_select(0, index)
        return self._changed(**per_row, received=received, _cache={}, **changes)

    def _changed(self, **changes: Any) -> Packed:
        """Return a copy with other values: ``dataclasses.replace`` without its cost, which each block would pay."""
        changed = object.__new__(type(self))
        changed.__dict__.update(self.__dict__, **changes)
        return changed


def count_per_sequence(mask: Bool[Tensor, " tokens"], sequence: Int[Tensor, " tokens"], batch: int) -> list[int]:
    """Count the True of each sequence, on the host."""
    zeros = torch.zeros(batch, dtype=torch.long, device=mask.device)
    return zeros.index_add_(0, sequence, mask.long()).tolist()


def true_indices(mask: Bool[Tensor, " n"], count: int) -> Int[Tensor, " count"]:
    """Return the indices of True; ``count`` of them, so that the device need not be asked."""
    return torch.nonzero_static(mask, size=count).squeeze(1)


@dataclasses.dataclass
class AdaptiveOutput(ModelOutput):
    """Output of an adaptive classifier, batch first.

    Attributes:
        loss: Given when ``labels`` are: the training objective in training mode, the loss of the exit taken in
            evaluation.
        logits: Logits of the exit taken, (batch, classes); in training mode of a head drawn for each example, unless
            traced, when they are the last head's.
        exit_depth: Depth (1-based) at which each example exited, (batch,); by a sufficient rule the block behind or
            within which it did, 0 for the embeddings.
        tokens_kept: (batch, depths + 1). Column 0 is what came in, column d what is alive after depth d's pruning, 0
            from the exit on; block d works on column d - 1.
        all_logits: (batch, heads, classes), when traced or training: every head's logits.
    """

    loss: Float[Tensor, ""] | None = None
    logits: Float[Tensor, "batch classes"] | None = None
    exit_depth: Int[Tensor, " batch"] | None = None
    tokens_kept: Int[Tensor, "batch columns"] | None = None
    all_logits: Float[Tensor, "batch heads classes"] | None = None

    @property
    def retention(self) -> Float[Tensor, " batch"]:
        """Tokens that the last executed block worked on / tokens that came in, per example, in (0, 1]."""
        if self.tokens_kept is None or self.exit_depth is None:
            raise ValueError("retention: needs tokens_kept and exit_depth")
        last = self.tokens_kept.gather(1, (self.exit_depth - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
        return last / self.tokens_kept[:, 0]
