"""Convert weights between Hugging Face's names and ours, both ways."""

import re
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eat.attention.full import FullAttention
from eat.backbones.base import Backbone

_BLOCK = re.compile(r"^blocks\.(\d+)\.")


def encoder_weights_from_hf(backbone: Backbone, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return our encoder's weights (embeddings and the first ``num_layers`` blocks) from a Hugging Face state dict.

    It is that of the encoder or of a model around it, in which the encoder's names carry a prefix; a missing weight is
    refused. For a ``max_length`` above the checkpoint's its position table, where it has one, is tiled (Longformer's
    recipe, Beltagy et al. 2020, section 5).
    """
    weights = {name.removeprefix(f"{backbone.prefix}."): tensor for name, tensor in weights.items()}
    ours = {}
    for our_name, their_names in _pairs(backbone):
        missing = [name for name in their_names if name not in weights]
        if missing:
            kind = backbone.config_class.model_type
            raise ValueError(f"weights: expected {missing[0]!r} in a {kind} checkpoint, got none of that name")
        ours[our_name] = torch.cat([weights[name] for name in their_names])
    table, offset = "embeddings.positions.weight", backbone.position_offset
    if table in ours:
        ours[table] = tile_positions(ours[table], backbone.max_length + offset, offset)
    return ours


def head_weights_from_hf(backbone: Backbone, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return those of our head's weights (``dense.*``, ``out.*``) that a Hugging Face state dict holds."""
    ours = {}
    for part, theirs in backbone.head_names.items():
        for kind in ("weight", "bias"):
            for name in (f"{theirs}.{kind}", f"{theirs.removeprefix(f'{backbone.prefix}.')}.{kind}"):
                if name in weights:
                    ours[f"{part}.{kind}"] = weights[name]
    return ours


def weights_to_hf(backbone: Backbone, encoder: Mapping[str, Tensor], head: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of Hugging Face's sequence classifier from our encoder's weights and our last head's."""
    theirs = {}
    for our_name, their_names in _pairs(backbone):
        for name, tensor in zip(their_names, encoder[our_name].chunk(len(their_names)), strict=True):
            theirs[f"{backbone.prefix}.{name}"] = tensor.clone()
    for part, their_name in backbone.head_names.items():
        for kind in ("weight", "bias"):
            if f"{part}.{kind}" in head:
                theirs[f"{their_name}.{kind}"] = head[f"{part}.{kind}"].clone()
    return theirs


def with_zeros(backbone: Backbone, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return our encoder's weights in the shape of a whole backbone: zeros where blocks have fewer heads or neurons.

    The order of heads and of neurons says nothing, so those that are left come first.
    """
    whole = dict(weights)
    for index in range(backbone.num_layers):
        for name, rows, columns in (
            ("qkv", 3 * backbone.dim, backbone.dim),
            ("mixed", backbone.dim, backbone.dim),
            ("inner", backbone.intermediate_size, backbone.dim),
            ("outer", backbone.dim, backbone.intermediate_size),
        ):
            parts = 3 if name == "qkv" else 1  # query, key and value, one below the other
            weight, bias = f"blocks.{index}.{name}.weight", f"blocks.{index}.{name}.bias"
            padding = (0, columns - whole[weight].shape[1], 0, (rows - whole[weight].shape[0]) // parts)
            whole[weight] = F.pad(whole[weight].unflatten(0, (parts, -1)), padding).flatten(0, 1)
            whole[bias] = F.pad(whole[bias].unflatten(0, (parts, -1)), padding[2:]).flatten()
    return whole


def tile_positions(table: Tensor, size: int, offset: int) -> Tensor:
    """Cut a position table to ``size`` rows, or repeat it; the first ``offset`` rows stand for no position."""
    if size <= table.shape[0]:
        return table[:size]
    learned = table[offset:]
    repeats = -(-(size - offset) // learned.shape[0])
    return torch.cat((table[:offset], learned.repeat(repeats, 1)))[:size]


def _pairs(backbone: Backbone) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield our parameter names with the one or more of theirs that they are stacked from."""
    with torch.device("meta"):  # names alone
        parts = {"embeddings": backbone.embeddings(), "blocks": backbone.blocks(FullAttention())}
        norm = backbone.final_norm()
    for ours in nn.ModuleDict(parts if norm is None else parts | {"norm": norm}).state_dict():
        part, _, kind = ours.rpartition(".")
        layer = _BLOCK.match(part)
        names = backbone.encoder_names[_BLOCK.sub("blocks.{i}.", part)]
        theirs = (names,) if isinstance(names, str) else names
        yield ours, tuple(f"{name.format(i=layer and layer[1])}.{kind}" for name in theirs)
