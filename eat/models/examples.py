"""Check one tokenised example on the host before it is packed with others."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from eat.backbones.base import Backbone
from eat.checks import plain, shown


@dataclasses.dataclass(frozen=True)
class Example:
    """A tokenised example: one token or more, and as many types, or None where the caller gave none."""

    input_ids: list[int]
    token_type_ids: list[int] | None


def read_example(example: Any, index: int, backbone: Backbone) -> Example:
    """Read and check an example: a mapping with ``input_ids`` and perhaps ``token_type_ids``, lists or 1-D tensors.

    An ``attention_mask`` must be all ones; other keys are ignored. The backbone gives the limits. What is wrong is
    named by its key and by the example's ``index``.
    """
    name = f"examples[{index}]"
    if not isinstance(example, Mapping) or "input_ids" not in example:
        got = f"keys {shown(list(example))}" if isinstance(example, Mapping) else type(example).__name__
        raise ValueError(f"{name}: expected a mapping with input_ids, got {got}")
    ids = _integers(example["input_ids"], f"{name}.input_ids", backbone.vocab_size)
    if not 1 <= len(ids) <= backbone.max_length:
        raise ValueError(f"{name}.input_ids: expected 1 to {backbone.max_length} tokens, got {len(ids)}")
    if example.get("attention_mask") is not None and not _all_ones(example["attention_mask"], len(ids)):
        raise ValueError(
            f"{name}.attention_mask: expected all ones, {len(ids)} as in input_ids, since examples come "
            f"without padding; got {shown(plain(example['attention_mask']))}"
        )
    if not backbone.num_types or example.get("token_type_ids") is None:
        return Example(ids, None)
    types = _integers(example["token_type_ids"], f"{name}.token_type_ids", backbone.num_types)
    if len(types) != len(ids):
        raise ValueError(f"{name}.token_type_ids: expected {len(ids)}, as many as input_ids, got {len(types)}")
    return Example(ids, types)


def end_to_end(
    examples: Sequence[Example], device: torch.device
) -> tuple[Int[Tensor, " tokens"], Int[Tensor, " tokens"] | None, Int[Tensor, " batch"]]:
    """Return tokens, types (0 where an example has none; None where none has any) and, on the host, lengths."""
    ids = torch.tensor(list(chain.from_iterable(example.input_ids for example in examples)))
    lengths = torch.tensor([len(example.input_ids) for example in examples])
    types = None
    if any(example.token_type_ids is not None for example in examples):
        rows = (example.token_type_ids or [0] * len(example.input_ids) for example in examples)
        types = torch.tensor(list(chain.from_iterable(rows))).to(device, non_blocking=True)
    return ids.to(device, non_blocking=True), types, lengths


def _all_ones(mask: Any, count: int) -> bool:
    mask = plain(mask)
    return isinstance(mask, Sequence) and not isinstance(mask, str) and len(mask) == count and all(mask)


def _integers(values: Any, name: str, limit: int) -> list[int]:
    """Return the values as integers in [0, limit)."""
    try:
        integers = list(map(operator.index, values.tolist() if hasattr(values, "tolist") else values))
    except TypeError:
        got = f"shape {tuple(values.shape)} of {values.dtype}" if hasattr(values, "dtype") else shown(values)
        raise ValueError(f"{name}: expected a list or 1-D tensor of integers, got {got}") from None
    if integers and not (min(integers) >= 0 and max(integers) < limit):
        raise ValueError(
            f"{name}: expected integers in [0, {limit}), got {min(integers)} to {max(integers)}; "
            f"does the tokenizer belong to this model?"
        )
    return integers
