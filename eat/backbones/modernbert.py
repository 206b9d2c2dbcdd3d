"""ModernBERT: rotary positions, pre-norm, gated feed-forward, local and global layers in turn."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from torch import nn
from transformers import ModernBertConfig
from transformers.activations import ACT2FN

from eat.attention import Attention
from eat.attention.local import LocalAttention
from eat.attention.rotary import RotaryAttention
from eat.backbones.base import DENSE, Backbone
from eat.checks import number, whole_number
from eat.modules.block import PreNormBlock
from eat.modules.embeddings import Embeddings
from eat.modules.gated import Gated
from eat.modules.heads import NormedActivation
from eat.modules.linear import Linear


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModernBertBackbone(Backbone):
    """Warner et al. 2024 (arXiv:2412.13663), and with it Ettin and every other checkpoint of type ``modernbert``.

    Every ``global_every``-th block, from the first on, attends by the model's attention part; the blocks between them
    see ``local_window`` neighbours and no global token, as they were pretrained. One final norm stands before all
    heads, the early ones included. A head: dense, gelu, norm, dropout, classifier.
    """

    max_length: int = 8192  # longest sequence in tokens, the special ones included
    num_types: int = 0  # it has none
    local_window: int = 128  # neighbours that a local block sees, half of them on either side
    global_every: int = 3  # of so many blocks the first is global
    global_theta: float = 160_000.0  # base of the rotary angles in global blocks
    local_theta: float = 10_000.0  # ... and in local ones
    embedding_dropout: float = 0.0  # on embeddings; ``dropout`` acts inside the feed-forward

    prefix = "model"
    encoder_names: ClassVar[dict[str, str | tuple[str, ...]]] = {
        "embeddings.words": "embeddings.tok_embeddings",
        "embeddings.norm": "embeddings.norm",
        "blocks.{i}.qkv": "layers.{i}.attn.Wqkv",
        "blocks.{i}.mixed": "layers.{i}.attn.Wo",
        "blocks.{i}.mixed_norm": "layers.{i}.attn_norm",
        "blocks.{i}.inner": "layers.{i}.mlp.Wi",
        "blocks.{i}.outer": "layers.{i}.mlp.Wo",
        "blocks.{i}.outer_norm": "layers.{i}.mlp_norm",
        "norm": "final_norm",
    }
    head_names: ClassVar = {"dense": "head.dense", "activation.norm": "head.norm", "out": "classifier"}
    head_activation = "gelu"
    head_in_pretrained = True  # masked-language models have the dense layer and the norm
    bias = False
    why_not_narrowed = "its feed-forward is gated"
    why_not_onnx = "rotary positions, norms before the branches and gated feed-forwards have no graph"
    feed_forwards: ClassVar = (DENSE,)
    pooling_key = "classifier_pooling"
    config_class: ClassVar[Any] = ModernBertConfig
    fixed_keys: ClassVar = {
        **dict.fromkeys(("attention_bias", "mlp_bias", "norm_bias", "classifier_bias"), False),
        "classifier_activation": "gelu",
    }
    config_keys: ClassVar = {
        "vocab_size": "vocab_size",
        "dim": "hidden_size",
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "intermediate_size": "intermediate_size",
        "max_length": "max_position_embeddings",
        "activation": "hidden_activation",
        "norm_eps": "norm_eps",
        "dropout": "mlp_dropout",
        "embedding_dropout": "embedding_dropout",
        "attention_dropout": "attention_dropout",
        "head_dropout": "classifier_dropout",
        "pad_token_id": "pad_token_id",
        "initializer_range": "initializer_range",
        "local_window": "local_attention",
    }

    def __post_init__(self) -> None:
        """Check also what BERT does not have."""
        super().__post_init__()
        whole_number("backbone.global_every", self.global_every)
        number("backbone.embedding_dropout", self.embedding_dropout, at_least=0, below=1)
        for name in ("global_theta", "local_theta"):
            number(f"backbone.{name}", getattr(self, name), above=0)
        if whole_number("backbone.local_window", self.local_window, at_least=2) % 2:
            raise ValueError(f"backbone.local_window: expected an even number, got {self.local_window}")
        if self.dim // self.num_heads % 2:
            raise ValueError(
                f"backbone.dim: expected heads of an even width for rotary positions, got {self.dim} over "
                f"num_heads={self.num_heads}"
            )

    @classmethod
    def from_hf_config(cls, config: Any) -> Backbone:
        """Read the shape from a ModernBERT config.

        Raises:
            ValueError: If its layers or its rotary angles follow a rule that is not built here.
        """
        rope = config.rope_parameters
        if any(rope[kind]["rope_type"] != "default" for kind in rope):
            raise ValueError(f"backbone: expected a modernbert with rope_type 'default' in all layers, got {rope}")
        own: dict[str, Any] = {
            "global_every": _global_every(config),
            "global_theta": rope["full_attention"]["rope_theta"],
            "local_theta": rope["sliding_attention"]["rope_theta"],
        }
        return dataclasses.replace(super().from_hf_config(config), **own)

    def to_hf_config(self, **labels: Any) -> Any:
        """Write the shape as a ModernBERT config."""
        thetas = {"full_attention": self.global_theta, "sliding_attention": self.local_theta}
        return super().to_hf_config(
            **dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id")),  # else those of another vocabulary
            sep_token_id=self.sep_token_id,
            **labels,
            global_attn_every_n_layers=self.global_every,
            rope_parameters={kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in thetas.items()},
        )

    @property
    def block_weights(self) -> int:
        """Weights of a block's matrices: the feed-forward has three, one of which gates."""
        return super().block_weights + self.dim * self.intermediate_size

    def embeddings(self) -> Embeddings:
        """Build the embeddings, which know nothing of positions."""
        return Embeddings(
            vocab_size=self.vocab_size,
            num_positions=0,
            num_types=0,
            width=self.dim,
            dim=self.dim,
            norm=self.norm(self.dim),
            dropout=self.embedding_dropout,
        )

    def final_norm(self) -> nn.Module:
        """Build what normalises rows before any head reads them: blocks leave them as they grew."""
        return self.norm(self.dim)

    def attentions(self, attention: Attention, embeddings: Embeddings | None = None) -> list[Attention]:
        """Return the given part for global blocks and a window of their own for local ones, behind rotary positions."""
        local = LocalAttention(self.local_window)
        local.equal_lengths = getattr(attention, "equal_lengths", False)
        far, near = RotaryAttention(attention, self.global_theta), RotaryAttention(local, self.local_theta)
        return [near if index % self.global_every else far for index in range(self.num_layers)]

    def blocks(self, attention: Attention, embeddings: Embeddings | None = None) -> nn.ModuleList:
        """Build all blocks; the first finds its rows normalised by the embeddings."""
        blocks: Any = super().blocks(attention, embeddings)
        blocks[0].mixed_norm = nn.Identity()
        return blocks

    def block(self, attention: Attention) -> PreNormBlock:
        """Build one block around an attention part."""
        return PreNormBlock(
            attention,
            qkv=Linear(self.dim, 3 * self.dim, bias=self.bias),
            mixed=Linear(self.dim, self.dim, bias=self.bias),
            mixed_norm=self.norm(self.dim),
            inner=Linear(self.dim, 2 * self.intermediate_size, bias=self.bias),
            activation=Gated(ACT2FN[self.activation], self.dropout),
            outer=Linear(self.intermediate_size, self.dim, bias=self.bias),
            outer_norm=self.norm(self.dim),
            num_heads=self.num_heads,
            dropout=self.attention_dropout,  # as in Hugging Face's
            attention_dropout=self.attention_dropout,
        )

    def head_nonlinearity(self) -> nn.Module:
        """Build what acts behind a head's dense layer: gelu, then a norm."""
        return NormedActivation(super().head_nonlinearity(), self.norm(self.dim))


def _global_every(config: Any) -> int:
    """Return every how many layers one is global; by the layers' types, since that key is one of older configs."""
    kinds, named = list(config.layer_types), getattr(config, "global_attn_every_n_layers", 3)
    for every in (*([named] if isinstance(named, int) and named > 0 else []), *range(1, len(kinds) + 1)):
        if kinds == ["sliding_attention" if index % every else "full_attention" for index in range(len(kinds))]:
            return int(every)
    raise ValueError(
        f"backbone: expected a modernbert whose every n-th layer, from the first on, is global, got {kinds}"
    )
