"""Group sequences of like length for attention, the only place with padding, and little of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from eat.kernels import Measured, fastest
from eat.ops.attention import DenseLayout

# A group may hold rows of padding up to this share of its live rows, or SLACK_ROWS rows.
SLACK_SHARE = 0.15
_MOST_SLACK = 64.0
_SENTENCES, _LENGTH = 16, 32  # of the batch that is measured


def _measure_slack_rows() -> float:
    """Find how many rows of padding cost as much as one more group: MiniLM's shape, 16 sentences of 32 tokens."""
    qkv, order = torch.full((_SENTENCES * _LENGTH, 3, 12, 32), 0.1), torch.arange(_SENTENCES * _LENGTH)

    def attended(groups: int) -> Callable[[], Tensor]:
        def call() -> Tensor:
            padded = qkv.index_select(0, order)
            mixed = []
            for rows in padded.split(len(order) // groups):
                q, k, v = rows.unflatten(0, (-1, _LENGTH)).unbind(2)
                mixed.append(DenseLayout(None, None).mix(q, k, v, 0.0).flatten(2).flatten(0, 1))
            return torch.cat(mixed).index_select(0, order)

        return call

    times = fastest({"one": attended(1), "eight": attended(8)}, rounds=15)
    more, row = (times["eight"] - times["one"]) / 7, times["one"] / len(order)
    return float(round(min(max(more / row, 1.0), _MOST_SLACK)))


SLACK_ROWS = Measured(
    "slack_rows",
    default=16.0,
    measure=_measure_slack_rows,
    meaning="rows of padding in a group of attention that cost as much as one more call",
)


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Sequences that attention handles as one tensor, padded to ``width`` columns."""

    sequences: tuple[int, ...]
    width: int
    start: int  # where its rows begin in the padded rows of all groups
    valid: Bool[Tensor, "batch width"] | None  # True on live rows; None where all are

    @property
    def num_rows(self) -> int:
        """Rows of the padded tensor."""
        return len(self.sequences) * self.width


@dataclasses.dataclass(frozen=True, eq=False)
class Grouping:
    """How packed rows go into the groups' padded rows and come back; without indices where both are in one order."""

    groups: tuple[Group, ...]  # their padded rows stand end to end
    gather: Int[Tensor, " padded"] | None  # packed row of each padded row; row 0 stands in for padding
    scatter: Int[Tensor, " tokens"] | None  # padded row of each packed row


def group_sequences(
    lengths: Sequence[int],
    kinds: Sequence[tuple[int, ...]],
    multiples: Sequence[int],
    *,
    device: torch.device,
    equal: bool = False,
) -> Grouping:
    """Group sequences of like length, the longest first.

    Only sequences of one kind share a group, whose width is a multiple of their number in ``multiples``. With ``equal``
    only those of one length do: no row is then computed otherwise than alone, not even in its rounding.
    """
    if len(lengths) == 1:
        return _alone(lengths[0], multiples[0], device)

    def on_device(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device, non_blocking=True)

    order = sorted(range(len(lengths)), key=lambda i: (kinds[i], -lengths[i], i))
    members: list[list[int]] = []
    widths: list[int] = []
    padding = live = 0
    slack_rows = SLACK_ROWS.value() if device.type == "cpu" else SLACK_ROWS.default
    for i in order:
        width = -(-lengths[i] // multiples[i]) * multiples[i]
        gap = (widths[-1] if widths else 0) - lengths[i]
        if (
            members
            and kinds[members[-1][0]] == kinds[i]
            and (
                lengths[members[-1][0]] == lengths[i]
                if equal
                else width == widths[-1] or padding + gap <= max(slack_rows, SLACK_SHARE * (live + lengths[i]))
            )
        ):
            members[-1].append(i)
            padding, live = padding + gap, live + lengths[i]
        else:
            members.append([i])
            widths.append(width)
            padding, live = 0, lengths[i]

    length = np.asarray(lengths)
    starts = length.cumsum() - length
    gather, scatter = [], np.empty(int(length.sum()), dtype=np.int64)
    groups = []
    start = 0
    for sequences, width in zip(members, widths, strict=True):
        columns = np.arange(width)
        valid = columns < length[sequences][:, None]
        rows = np.where(valid, starts[sequences][:, None] + columns, 0)
        scatter[rows[valid]] = (start + np.arange(rows.size).reshape(rows.shape))[valid]
        gather.append(rows.reshape(-1))
        groups.append(Group(tuple(sequences), width, start, None if valid.all() else on_device(valid)))
        start += rows.size
    flat = np.concatenate(gather)
    if len(flat) == len(scatter) and bool((flat == np.arange(len(flat))).all()):
        return Grouping(tuple(groups), None, None)
    return Grouping(tuple(groups), on_device(flat), on_device(scatter))


def _alone(length: int, multiple: int, device: torch.device) -> Grouping:
    """Return the group of one sequence; made by the device itself, which also works while a CUDA graph is recorded."""
    width = -(-length // multiple) * multiple
    if width == length:
        return Grouping((Group((0,), width, 0, None),), None, None)
    columns = torch.arange(width, device=device)
    valid = columns < length
    return Grouping((Group((0,), width, 0, valid.unsqueeze(0)),), columns * valid, columns[:length])
