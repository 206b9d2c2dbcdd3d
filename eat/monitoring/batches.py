"""Rows that are answered in different ways: taken out of their batch, and their answers put back in order."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from eat.models.stream import Prediction
from eat.packed import AdaptiveOutput

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """What a caller gives, padded or packed; see `AdaptiveForSequenceClassification.forward`."""

    input_ids: Int[Tensor, ...]
    attention_mask: Tensor | None
    token_type_ids: Int[Tensor, ...] | None
    lengths: Int[Tensor, " batch"] | None

    def __len__(self) -> int:
        return self.input_ids.shape[0] if self.lengths is None else self.lengths.shape[0]

    def select(self, rows: Sequence[int]) -> Batch:
        """Return some of its rows, in the order given."""
        index = torch.tensor(rows)
        lengths = None if self.lengths is None else self.lengths.index_select(0, index.to(self.lengths.device))
        parts = [self._select(part, index) for part in (self.input_ids, self.attention_mask, self.token_type_ids)]
        ids, mask, types = parts
        return Batch(self.input_ids if ids is None else ids, mask, types, lengths)

    def _select(self, part: Tensor | None, index: Int[Tensor, " rows"]) -> Tensor | None:
        if part is None:
            return None
        if self.lengths is None:
            return part.index_select(0, index.to(part.device))
        pieces = part.split(self.lengths.tolist())
        return torch.cat([pieces[row] for row in index.tolist()])


def merge(answers: Sequence[tuple[Sequence[int], AdaptiveOutput]]) -> AdaptiveOutput:
    """Put the answers to parts of a batch together.

    Args:
        answers: Rows and their answers; together each row once.
    """
    if len(answers) == 1:
        return answers[0][1]
    order = torch.tensor([row for rows, _ in answers for row in rows]).argsort()

    def joined(name: str) -> Tensor:
        whole = torch.cat([getattr(output, name) for _, output in answers])
        return whole.index_select(0, order.to(whole.device))

    return AdaptiveOutput(logits=joined("logits"), exit_depth=joined("exit_depth"), tokens_kept=joined("tokens_kept"))


def rows_alike(
    batch: int, source: str | Sequence[str], suspicious: Sequence[bool] | Tensor | None
) -> dict[tuple[str, bool], list[int]]:
    """Return the rows of each source, suspicious and not.

    Args:
        batch: Rows.
        source: One for all rows, or one per row.
        suspicious: One per row; None where no row is.

    Raises:
        ValueError: If there is not one value per row.
    """
    names = [source] * batch if isinstance(source, str) else list(source)
    if isinstance(suspicious, Tensor):
        suspicious = suspicious.tolist()  # read once: it may be on a device
    flags = [False] * batch if suspicious is None else [bool(flag) for flag in suspicious]
    for argument, count in (("source", len(names)), ("suspicious", len(flags))):
        if count != batch:
            raise ValueError(f"{argument}: expected one value for each of the {batch} rows, got {count}")
    rows: dict[tuple[str, bool], list[int]] = {}
    for row, key in enumerate(zip(names, flags, strict=True)):
        rows.setdefault(key, []).append(row)
    return rows


def remembered(items: Iterator[T], waiting: deque[T]) -> Iterator[T]:
    """Pass items on, and keep them at hand."""
    for item in items:
        waiting.append(item)
        yield item


def as_output(prediction: Prediction) -> AdaptiveOutput:
    """Return a stream's answer as a batch of one."""
    return AdaptiveOutput(
        logits=prediction.logits.unsqueeze(0),
        exit_depth=torch.tensor([prediction.exit_depth]),
        tokens_kept=torch.tensor([prediction.tokens_kept]),
    )
