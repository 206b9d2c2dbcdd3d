"""Pack a batch, padded or packed by its caller, into embedded rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from eat.backbones.base import Backbone
from eat.modules.embeddings import Embeddings
from eat.packed import Packed


class Inputs(NamedTuple):
    """A batch as a caller gives it.

    Attributes:
        input_ids: (batch, width) padded, or (tokens,) packed with ``lengths``.
        attention_mask: (batch, width), nonzero on real tokens; default all. Not for packed input.
        token_type_ids: Shaped like ``input_ids``; default 0.
        lengths: Tokens of each sequence of a packed input.
    """

    input_ids: Int[Tensor, ...] | None
    attention_mask: Tensor | None
    token_type_ids: Int[Tensor, ...] | None
    lengths: Int[Tensor, " batch"] | None


def pack_inputs(backbone: Backbone, embeddings: Embeddings, inputs: Inputs, *, protected_id: int | None) -> Packed:
    """Embed a batch as packed rows.

    Args:
        backbone: Gives position ids and limits.
        embeddings: Tokens to rows.
        inputs: The batch.
        protected_id: Token id that is protected besides [CLS].

    Raises:
        ValueError: If shapes disagree, a sequence is empty or too long, or a token id is out of range.
    """
    input_ids, attention_mask, token_type_ids, lengths = inputs
    if input_ids is None:
        raise ValueError("input_ids: expected a tensor of token ids, got None")
    if token_type_ids is not None and token_type_ids.shape != input_ids.shape:
        raise ValueError(
            f"token_type_ids: expected the shape of input_ids {tuple(input_ids.shape)}, "
            f"got {tuple(token_type_ids.shape)}"
        )
    if lengths is not None:
        parts = _packed(backbone, input_ids, attention_mask, token_type_ids, lengths)
    else:
        parts = _padded(backbone, input_ids, attention_mask, token_type_ids)
    tokens, types, positions, position_ids, host_lengths, contiguous = parts
    try:
        rows = embeddings(tokens, position_ids, types)
    except IndexError:
        raise ValueError(
            f"input_ids: expected token ids in [0, {backbone.vocab_size}) and types in [0, {backbone.num_types}), "
            f"got ids from {int(tokens.min())} to {int(tokens.max())}; does the tokenizer belong to this model?"
        ) from None
    return Packed.start(rows, tokens, positions, host_lengths, contiguous=contiguous, protected_id=protected_id)


def refuse(**arguments: Any) -> None:
    """Refuse arguments of Hugging Face's that rows which leave the encoder make impossible.

    Raises:
        ValueError: If one is given and not False.
    """
    for name, value in arguments.items():
        if value is not None and value is not False:
            raise ValueError(
                f"{name}: not supported, since rows leave the encoder while it runs; expected input_ids and no {name}"
            )


_Parts = tuple[Tensor, Tensor | None, Tensor, Tensor, list[int], bool]


def _packed(
    backbone: Backbone, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None, lengths: Tensor
) -> _Parts:
    if input_ids.ndim != 1:
        raise ValueError(f"input_ids: expected one row of tokens beside lengths, got shape {tuple(input_ids.shape)}")
    if attention_mask is not None:
        raise ValueError("attention_mask: expected none beside lengths, since a packed batch has no padding")
    host_lengths = lengths.tolist()
    if sum(host_lengths) != input_ids.shape[0]:
        raise ValueError(f"lengths: expected a sum of {input_ids.shape[0]} (the tokens given), got {sum(host_lengths)}")
    _check_counts("lengths", host_lengths)
    _check_length(backbone, max(host_lengths))
    positions = _ramp(host_lengths, input_ids.device)
    return input_ids, token_type_ids, positions, positions + backbone.position_offset, host_lengths, True


def _padded(
    backbone: Backbone, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None
) -> _Parts:
    if input_ids.ndim != 2:
        raise ValueError(
            f"input_ids: expected (batch, width), or packed tokens with lengths, got {tuple(input_ids.shape)}"
        )
    if attention_mask is not None and attention_mask.shape != input_ids.shape:
        raise ValueError(
            f"attention_mask: expected the shape of input_ids {tuple(input_ids.shape)}, "
            f"got {tuple(attention_mask.shape)}"
        )
    batch, width = input_ids.shape
    _check_counts("input_ids", [width] * batch)
    _check_length(backbone, width)
    live = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    position_ids = backbone.position_ids(input_ids, live)
    positions = torch.arange(width, device=input_ids.device).expand(batch, width)
    host_lengths = [width] * batch if attention_mask is None else live.sum(1).tolist()
    flat = (input_ids.reshape(-1), positions.reshape(-1), position_ids.reshape(-1))
    types = None if token_type_ids is None else token_type_ids.reshape(-1)
    if sum(host_lengths) < batch * width:
        _check_counts("attention_mask", host_lengths)
        index = torch.nonzero_static(live.reshape(-1), size=sum(host_lengths)).squeeze(1)
        flat = (flat[0].index_select(0, index), flat[1].index_select(0, index), flat[2].index_select(0, index))
        types = None if types is None else types.index_select(0, index)
    tokens, positions, position_ids = flat
    return tokens, types, positions, position_ids, host_lengths, sum(host_lengths) == batch * width


def _check_counts(argument: str, host_lengths: list[int]) -> None:
    if not host_lengths:
        raise ValueError("input_ids: expected at least one sequence, got an empty batch")
    shortest = min(host_lengths)
    if shortest < 1:
        raise ValueError(
            f"{argument}: expected at least one real token in each sequence, "
            f"got {shortest} in sequence {host_lengths.index(shortest)}"
        )


def _check_length(backbone: Backbone, longest: int) -> None:
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
