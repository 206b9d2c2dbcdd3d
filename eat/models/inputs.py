"""Pack a batch, padded or packed by its caller, into embedded rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from eat.backbones.base import Backbone
from eat.modules.embeddings import Embeddings
from eat.packed import Packed, true_indices


class Inputs(NamedTuple):
    """A batch as a caller gives it to ``AdaptiveForSequenceClassification.forward``, which says what each may be."""

    input_ids: Tensor | None
    attention_mask: Tensor | None
    token_type_ids: Tensor | None
    lengths: Int[Tensor, " batch"] | None


def pack_inputs(backbone: Backbone, embeddings: Embeddings, inputs: Inputs, *, protected_id: int | None) -> Packed:
    """Check a batch and embed it as packed rows; tokens with the ``protected_id`` are protected besides [CLS]."""
    input_ids, attention_mask, token_type_ids, lengths = inputs
    check_tensors(inputs)
    assert input_ids is not None
    if lengths is not None:
        parts = _packed(backbone, input_ids, attention_mask, token_type_ids, lengths)
    else:
        parts = _padded(backbone, input_ids, attention_mask, token_type_ids)
    tokens, types, positions, position_ids, host_lengths, contiguous = parts
    try:
        rows = embeddings(tokens, position_ids, types)
    except IndexError:
        inside = tokens.min() >= 0 and tokens.max() < backbone.vocab_size
        if inside and (types is None or (types.min() >= 0 and types.max() < backbone.num_types)):
            raise  # of a hook or an adapter on the tables
        raise ValueError(
            f"input_ids: expected token ids in [0, {backbone.vocab_size}) and types in [0, {backbone.num_types}), "
            f"got ids from {int(tokens.min())} to {int(tokens.max())}"
            + ("" if types is None else f" and types from {int(types.min())} to {int(types.max())}")
            + "; does the tokenizer belong to this model?"
        ) from None
    return Packed.start(rows, tokens, positions, host_lengths, contiguous=contiguous, protected_id=protected_id)


def check_tensors(inputs: Inputs) -> None:
    """Check that a batch is of tensors that an embedding table and a mask can be read from, all of one shape.

    Raises:
        ValueError: If not; the argument is named.
    """
    wanted: torch.Size | None = None  # set by the first of them
    for name in ("input_ids", "token_type_ids", "attention_mask"):
        values = getattr(inputs, name)
        if values is None and name != "input_ids":
            continue
        if not isinstance(values, Tensor):
            got = "None" if values is None else f"a {type(values).__name__}"
            raise ValueError(f"{name}: expected a tensor{' of token ids' * (name == 'input_ids')}, got {got}")
        if name != "attention_mask" and values.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"{name}: expected a tensor of int64 or int32, got {values.dtype}")
        wanted = wanted or values.shape
        if values.shape != wanted:
            raise ValueError(f"{name}: expected the shape of input_ids {tuple(wanted)}, got {tuple(values.shape)}")


def read_lengths(lengths: Any) -> Int[Tensor, " batch"]:
    """Return the lengths of packed sequences, given as a tensor or array, (batch,) or (batch, 1), or as a list."""
    try:
        values = lengths if isinstance(lengths, Tensor) else torch.as_tensor(lengths)
    except (TypeError, ValueError, RuntimeError):
        values = torch.empty(0)
    if (
        values.dtype not in (torch.int64, torch.int32)
        or values.ndim not in (1, 2)
        or values.shape[1:] not in ((), (1,))
    ):
        raise ValueError(f"lengths: expected one integer per sequence, got {str(lengths)[:80]!r}")
    return values.reshape(-1)


def refuse(**arguments: Any) -> None:
    """Refuse arguments of Hugging Face's, given and not False, that rows which leave the encoder make impossible."""
    for name, value in arguments.items():
        if value is not None and value is not False:
            raise ValueError(
                f"{name}: not supported, since rows leave the encoder while it runs; expected input_ids and no {name}"
            )


_Parts = tuple[Tensor, Tensor | None, Tensor, Tensor, list[int], bool]


def _packed(
    backbone: Backbone,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    token_type_ids: Tensor | None,
    lengths: Tensor,
) -> _Parts:
    if input_ids.ndim != 1:
        raise ValueError(f"input_ids: expected one row of tokens beside lengths, got shape {tuple(input_ids.shape)}")
    if attention_mask is not None:
        raise ValueError("attention_mask: expected none beside lengths, since a packed batch has no padding")
    host_lengths = lengths.tolist()
    if sum(host_lengths) != input_ids.shape[0]:
        raise ValueError(f"lengths: expected a sum of {input_ids.shape[0]} (the tokens given), got {sum(host_lengths)}")
    _check_lengths(backbone, "lengths", host_lengths)
    positions = _ramp(host_lengths, input_ids.device)
    return input_ids, token_type_ids, positions, positions + backbone.position_offset, host_lengths, True


def _padded(
    backbone: Backbone, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None
) -> _Parts:
    if input_ids.ndim != 2:
        raise ValueError(
            f"input_ids: expected (batch, width), or packed tokens with lengths, got {tuple(input_ids.shape)}"
        )
    batch, width = input_ids.shape
    _check_lengths(backbone, "input_ids", [width] * batch)
    live = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    position_ids = backbone.position_ids(input_ids, live)
    positions = torch.arange(width, device=input_ids.device).expand(batch, width)
    host_lengths = [width] * batch if attention_mask is None else live.sum(1).tolist()
    index = None
    if sum(host_lengths) < batch * width:
        _check_lengths(backbone, "attention_mask", host_lengths)
        index = true_indices(live.reshape(-1), sum(host_lengths))

    def packed(values: Tensor) -> Tensor:
        return values.reshape(-1) if index is None else values.reshape(-1).index_select(0, index)

    types = None if token_type_ids is None else packed(token_type_ids)
    return packed(input_ids), types, packed(positions), packed(position_ids), host_lengths, index is None


def _check_lengths(backbone: Backbone, argument: str, host_lengths: list[int]) -> None:
    if not host_lengths:
        raise ValueError("input_ids: expected at least one sequence, got an empty batch")
    shortest, longest = min(host_lengths), max(host_lengths)
    if shortest < 1:
        raise ValueError(
            f"{argument}: expected at least one real token in each sequence, "
            f"got {shortest} in sequence {host_lengths.index(shortest)}"
        )
    if longest > backbone.max_length:
        raise ValueError(
            f"input_ids: expected at most {backbone.max_length} tokens a sequence, got {longest}; truncate them, or "
            f"build the model with a larger max_length (backbone.max_length), which tiles the position table"
        )


def _ramp(host_lengths: list[int], device: torch.device) -> Int[Tensor, " tokens"]:
    """Return 0, 1, ... within each sequence."""
    if len(host_lengths) == 1:
        return torch.arange(host_lengths[0], device=device)
    lengths = torch.tensor(host_lengths).to(device, non_blocking=True)
    starts = lengths.cumsum(0) - lengths
    total = sum(host_lengths)
    return torch.arange(total, device=device) - torch.repeat_interleave(starts, lengths, output_size=total)
