"""Split a batch by how its rows are answered, and merge the answers in order."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from eat.models.stream import Prediction
from eat.packed import AdaptiveOutput

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """What a caller gives, padded or packed; see `AdaptiveForSequenceClassification.forward`."""

    input_ids: Int[Tensor, " ..."]
    attention_mask: Tensor | None
    token_type_ids: Int[Tensor, " ..."] | None
    lengths: Int[Tensor, " batch"] | None

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


def rows_alike(
    batch: int, source: str | Sequence[str], suspicious: Sequence[bool] | Tensor | None
) -> dict[tuple[str, bool], list[int]]:
    """Return the rows of each source (one for all rows, or one per row), suspicious and not (None where no row is)."""
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
