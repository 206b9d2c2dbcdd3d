"""Split a batch by how its rows are answered, and merge the answers in order."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from eat.checks import plain
from eat.models.inputs import Inputs, check_tensors, read_lengths
from eat.models.stream import Prediction
from eat.packed import AdaptiveOutput

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """What a caller gives, padded or packed; see `AdaptiveForSequenceClassification.forward`."""

    input_ids: Tensor
    attention_mask: Tensor | None
    token_type_ids: Tensor | None
    lengths: Int[Tensor, " batch"] | None

    @classmethod
    def read(
        cls,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        lengths: Tensor | Sequence[int] | None,
    ) -> Batch:
        """Check what a caller gives, as the model does.

        Raises:
            ValueError: If the model refuses the input.
        """
        read = None if lengths is None else read_lengths(lengths)
        check_tensors(Inputs(input_ids, attention_mask, token_type_ids, read))
        return cls(input_ids, attention_mask, token_type_ids, read)

    def __len__(self) -> int:
        return self.input_ids.shape[0] if self.lengths is None else self.lengths.shape[0]

    def select(self, rows: Sequence[int]) -> Batch:
        """Return some of its rows, in the order given."""
        index = torch.tensor(rows)

        def chosen(name: str) -> Any:
            part: Tensor | None = getattr(self, name)
            if part is None or self.lengths is None or name == "lengths":
                return None if part is None else part.index_select(0, index.to(part.device))
            pieces = part.split(self.lengths.tolist())
            return torch.cat([pieces[row] for row in rows])

        return Batch(**{field.name: chosen(field.name) for field in dataclasses.fields(self)})


def merge(answers: Sequence[tuple[Sequence[int], AdaptiveOutput]]) -> AdaptiveOutput:
    """Merge the answers to parts of a batch, given with their rows, which are together each row once."""
    if len(answers) == 1:
        return answers[0][1]
    order = torch.tensor([row for rows, _ in answers for row in rows]).argsort()

    def joined(name: str) -> Tensor:
        whole = torch.cat([getattr(output, name) for _, output in answers])
        return whole.index_select(0, order.to(whole.device))

    return AdaptiveOutput(logits=joined("logits"), exit_depth=joined("exit_depth"), tokens_kept=joined("tokens_kept"))


def source_names(source: Any, batch: int) -> list[str]:
    """Return the source of each row, given as one name for all, or as a list or array of (batch,) or (batch, 1)."""
    names = [source] * batch if isinstance(source, str) else _column(source)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"source: expected one name, or one for each row, got {str(source)[:80]!r}")
    return names


def rows_alike(batch: int, source: str | Sequence[str], suspicious: Any) -> dict[tuple[str, bool], list[int]]:
    """Return the rows of each source (one for all rows, or one per row), suspicious and not (None where no row is)."""
    names = source_names(source, batch)
    flags = [False] * batch if suspicious is None else _flags(suspicious)
    for argument, count in (("source", len(names)), ("suspicious", len(flags))):
        if count != batch:
            raise ValueError(f"{argument}: expected one value for each of the {batch} rows, got {count}")
    rows: dict[tuple[str, bool], list[int]] = {}
    for row, key in enumerate(zip(names, flags, strict=True)):
        rows.setdefault(key, []).append(row)
    return rows


def _flags(suspicious: Any) -> list[bool]:
    """Return flags given as a list, or as a tensor or array of shape (batch,) or (batch, 1)."""
    values = _column(suspicious)
    if not isinstance(values, list) or any(one not in (0, 1) for one in values):
        raise ValueError(f"suspicious: expected one True or False per row, got {str(suspicious)[:80]!r}")
    return [bool(one) for one in values]


def _column(values: Any) -> Any:
    """Return one value per row as a list, given as (batch,) or (batch, 1).

    A tensor, which may be on a device, is read once.
    """
    values = plain(values)
    if not isinstance(values, list | tuple):
        return values
    column = all(isinstance(one, list) and len(one) == 1 for one in values)
    return [one[0] for one in values] if column else list(values)


def remembered(items: Iterator[T], waiting: deque[T]) -> Iterator[T]:
    """Pass items on, and keep them in ``waiting``."""
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
