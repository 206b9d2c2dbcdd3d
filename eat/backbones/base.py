"""Shape of a backbone, the parts built from it, and the names its config and weights have at Hugging Face."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from transformers.activations import ACT2FN

from eat.attention import Attention
from eat.checks import number, one_of, shown, whole_number, whole_numbers
from eat.modules.block import Block
from eat.modules.embeddings import Embeddings
from eat.modules.heads import Head
from eat.modules.learn_forget import LearnForgetBlock
from eat.modules.linear import Linear

# The largest published encoders have some 11e9 weights (XLM-R XXL), the deepest Transformers 1,000 layers (DeepNet):
# a configuration beyond is a mistake or an attack on the memory, and is refused before anything is allocated.
MAX_WEIGHTS, MAX_LAYERS = 20e9, 1000

DENSE, LEARN_FORGET = "dense", "learn_forget"
"""What a block's feed-forward may be: two dense layers with an activation, or gates."""

_OPTIONAL = ("embedding_size", "sep_token_id")  # None is a value of these


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backbone:
    """Shape of an encoder; plain values that go into ``config.json`` as they are.

    A member of the family says how its Hugging Face config and weights are named: ``config_keys`` and ``*_names`` map
    ours to theirs, ``{i}`` is the block counted from 0, and several of their weights are stacked into one of ours.
    ``fixed_keys`` are the values that a config must have, since all published checkpoints do and nothing else is built.
    ``pooling_key`` is the config's key that says what Hugging Face's head reads, where it may read the mean as well.
    """

    vocab_size: int  # words in the vocabulary
    dim: int  # width of a row
    num_layers: int  # blocks
    num_heads: int  # attention heads per block
    intermediate_size: int  # width of the feed-forward
    max_length: int = 512  # longest sequence in tokens, the special ones included
    num_types: int = 2  # token types; 0 where there are none
    embedding_size: int | None = None  # width of the embedding tables; None where it is `dim`
    activation: str = "gelu"  # Hugging Face's name of the feed-forward's nonlinearity
    norm_eps: float = 1e-12  # epsilon of all LayerNorms
    dropout: float = 0.1  # on embeddings and on both branches of a block
    attention_dropout: float = 0.1  # on attention weights
    head_dropout: float = 0.1  # before the classifier
    pad_token_id: int = 0  # padding in the vocabulary
    sep_token_id: int | None = None  # separator in the vocabulary; None where unknown
    initializer_range: float = 0.02  # standard deviation of random weights
    feed_forward: str = DENSE  # or LEARN_FORGET, which no checkpoint has
    block_heads: Sequence[int] | None = None  # attention heads left in each block; None where none was removed
    block_inner: Sequence[int] | None = None  # width of the feed-forward left in each block; None likewise

    config_class: ClassVar[Any]
    config_keys: ClassVar[dict[str, str]]
    fixed_keys: ClassVar[dict[str, Any]] = {}
    pooling_key: ClassVar[str | None] = None
    prefix: ClassVar[str]
    encoder_names: ClassVar[dict[str, str | tuple[str, ...]]]
    head_names: ClassVar[dict[str, str]]
    head_activation: ClassVar[str]
    dropout_before_dense: ClassVar[bool] = False
    pooler_in_encoder: ClassVar[bool] = False
    head_in_pretrained: ClassVar[bool] = False  # whether a checkpoint without classes has a part of the head outside
    position_offset: ClassVar[int] = 0
    bias: ClassVar[bool] = True  # whether dense layers of blocks and heads, and all norms, add one
    why_not_narrowed: ClassVar[str | None] = None  # why no heads and neurons of its type's blocks can be removed
    why_not_onnx: ClassVar[str | None] = None  # why there are no ONNX segments of its type
    feed_forwards: ClassVar[tuple[str, ...]] = (DENSE, LEARN_FORGET)

    def __post_init__(self) -> None:
        """Check the values that would otherwise fail deep inside torch, or fill the memory."""
        for name in ("vocab_size", "dim", "num_layers", "num_heads", "intermediate_size", "max_length"):
            whole_number(f"backbone.{name}", getattr(self, name))
        for name, at_least in (("num_types", 0), ("embedding_size", 1), ("pad_token_id", 0), ("sep_token_id", 0)):
            if name not in _OPTIONAL or getattr(self, name) is not None:
                whole_number(f"backbone.{name}", getattr(self, name), at_least)
        for name in ("norm_eps", "initializer_range"):
            number(f"backbone.{name}", getattr(self, name), at_least=0)
        for name in ("dropout", "attention_dropout", "head_dropout"):
            number(f"backbone.{name}", getattr(self, name), at_least=0, below=1)
        self._check_size()
        if self.dim % self.num_heads:
            raise ValueError(f"backbone.dim: expected a multiple of num_heads={self.num_heads}, got {self.dim}")
        one_of("backbone.activation", self.activation, ACT2FN)
        one_of("backbone.feed_forward", self.feed_forward, self.feed_forwards)
        for name, most in (("block_heads", self.num_heads), ("block_inner", self.intermediate_size)):
            if getattr(self, name) is not None:
                self._check_narrowed(f"backbone.{name}", getattr(self, name), most)

    def _check_narrowed(self, name: str, left: Any, most: int) -> None:
        """Check what says how many heads or neurons are left in each block."""
        if self.not_narrowed is not None:
            raise ValueError(f"{name}: expected none for this encoder, since {self.not_narrowed}, got {shown(left)}")
        if len(whole_numbers(name, left)) != self.num_layers or max(left) > most:
            raise ValueError(f"{name}: expected {self.num_layers} numbers from 1 to {most}, got {shown(left)}")

    def _check_size(self) -> None:
        """Refuse a shape that no encoder has before anything is allocated for it."""
        if self.num_layers > MAX_LAYERS:
            raise ValueError(f"backbone.num_layers: expected at most {MAX_LAYERS}, got {self.num_layers}")
        width = self.embedding_size or self.dim
        tables = (self.vocab_size + self.max_length + self.num_types) * width + width * self.dim
        weights = tables + self.num_layers * (self.dim**2 + self.block_weights)  # a head each
        if weights > MAX_WEIGHTS:
            raise ValueError(
                f"backbone: expected a shape of at most {MAX_WEIGHTS:.0e} weights, got about {weights:.1e} from "
                f"vocab_size={self.vocab_size}, dim={self.dim}, num_layers={self.num_layers}, "
                f"intermediate_size={self.intermediate_size}, max_length={self.max_length}"
            )

    @classmethod
    def from_hf_config(cls, config: Any) -> Backbone:
        """Read the shape from a Hugging Face config of this model type."""
        for key, expected in cls.fixed_keys.items():
            if getattr(config, key) != expected:
                raise ValueError(
                    f"backbone: expected a checkpoint of type {config.model_type} with {key}={expected!r}, as all that "
                    f"are published, got {shown(getattr(config, key))}"
                )
        shape = {ours: getattr(config, theirs) for ours, theirs in cls.config_keys.items()}
        shape["max_length"] -= cls.position_offset
        if shape["pad_token_id"] is None:  # some configurations leave it open
            del shape["pad_token_id"]
        if "num_types" not in cls.config_keys:
            shape["num_types"] = 0
        return cls(**shape, sep_token_id=getattr(config, "sep_token_id", None))

    @property
    def block_weights(self) -> int:
        """Weights of a block's matrices: four projections of the attention, two of the feed-forward or three gates."""
        inner = 3 * self.dim if self.feed_forward == LEARN_FORGET else 2 * self.intermediate_size
        return 4 * self.dim**2 + self.dim * inner

    @property
    def no_segments(self) -> str | None:
        """Say why there are no ONNX segments of this shape; None where there are."""
        return "a learn-forget feed-forward has no graph" if self.feed_forward == LEARN_FORGET else self.why_not_onnx

    @property
    def not_narrowed(self) -> str | None:
        """Say why no heads and neurons of single blocks can be removed of this shape; None where they can."""
        return "its feed-forward has gates" if self.feed_forward == LEARN_FORGET else self.why_not_narrowed

    @property
    def whole(self) -> Backbone:
        """This shape without anything removed."""
        return dataclasses.replace(self, block_heads=None, block_inner=None)

    def heads_at(self, depth: int) -> int:
        """Return how many attention heads the block at a depth has."""
        return self.num_heads if self.block_heads is None else self.block_heads[depth - 1]

    def inner_at(self, depth: int) -> int:
        """Return the width of the feed-forward at a depth."""
        return self.intermediate_size if self.block_inner is None else self.block_inner[depth - 1]

    def attention_width(self, depth: int) -> int:
        """Return the width of all heads of the block at a depth."""
        return self.heads_at(depth) * (self.dim // self.num_heads)

    def weights_at(self, depth: int) -> int:
        """Return the weights of the matrices of the block at a depth."""
        removed = 4 * (self.dim - self.attention_width(depth)) + 2 * (self.intermediate_size - self.inner_at(depth))
        return self.block_weights - self.dim * removed

    def to_hf_config(self, **labels: Any) -> Any:
        """Write the shape as a Hugging Face config of this model type."""
        shape = {theirs: getattr(self, ours) for ours, theirs in self.config_keys.items()}
        shape[self.config_keys["max_length"]] += self.position_offset
        return self.config_class(**shape | labels)

    def embeddings(self) -> Embeddings:
        """Build the embeddings."""
        return Embeddings(
            vocab_size=self.vocab_size,
            num_positions=self.max_length + self.position_offset,
            num_types=self.num_types,
            width=self.embedding_size or self.dim,
            dim=self.dim,
            norm=self.norm(self.embedding_size or self.dim),
            dropout=self.dropout,
        )

    def norm(self, size: int) -> nn.LayerNorm:
        """Build a LayerNorm."""
        return nn.LayerNorm(size, eps=self.norm_eps, bias=self.bias)

    def final_norm(self) -> nn.Module | None:
        """Build what normalises rows before any head reads them; None where blocks do."""
        return None

    def attentions(self, attention: Attention, embeddings: Embeddings | None = None) -> list[Attention]:
        """Return what each block attends with, given the part that the model is configured with.

        ``embeddings`` are the model's, where attention reads what they learned.
        """
        return [attention] * self.num_layers

    def blocks(self, attention: Attention, embeddings: Embeddings | None = None) -> nn.ModuleList:
        """Build all blocks, in the order of depth; arguments are those of ``attentions``."""
        blocks = [self.block(part) for part in self.attentions(attention, embeddings)]
        if self.block_heads is not None or self.block_inner is not None:
            for depth, block in enumerate(blocks, start=1):
                block.keep(range(self.heads_at(depth)), range(self.inner_at(depth)))
        return nn.ModuleList(blocks)

    def block(self, attention: Attention) -> Block:
        """Build one whole block around an attention part."""
        gates = self.feed_forward == LEARN_FORGET
        return (LearnForgetBlock if gates else Block)(
            attention,
            qkv=Linear(self.dim, 3 * self.dim, bias=self.bias),
            mixed=Linear(self.dim, self.dim, bias=self.bias),
            mixed_norm=self.norm(self.dim),
            inner=Linear(self.dim, 3 * self.dim if gates else self.intermediate_size, bias=self.bias),
            activation=nn.Identity() if gates else ACT2FN[self.activation],
            outer=nn.Identity() if gates else Linear(self.intermediate_size, self.dim, bias=self.bias),
            outer_norm=self.norm(self.dim),
            num_heads=self.num_heads,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
        )

    def head(self, num_labels: int, pooling: str) -> Head:
        """Build one exit head in the shape of this model type's own."""
        return Head(
            pooling,
            self.head_nonlinearity(),
            dim=self.dim,
            num_labels=num_labels,
            dropout=self.head_dropout,
            dropout_before_dense=self.dropout_before_dense,
            dense_bias=self.bias,
        )

    def head_nonlinearity(self) -> nn.Module:
        """Build what acts behind a head's dense layer."""
        return nn.Tanh() if self.head_activation == "tanh" else ACT2FN[self.head_activation]

    def position_ids(
        self, token_ids: Int[Tensor, "batch width"], live: Bool[Tensor, "batch width"]
    ) -> Int[Tensor, "batch width"]:
        """Return the row of the position table for each column of a padded input: the column itself."""
        return torch.arange(token_ids.shape[1], device=token_ids.device).expand_as(token_ids)
