"""ALBERT: one block at every depth, and embeddings in two factors."""

from typing import Any, ClassVar

from torch import nn
from transformers import AlbertConfig

from eat.attention import Attention
from eat.backbones.base import Backbone
from eat.backbones.bert import BertBackbone
from eat.modules.embeddings import Embeddings
from eat.modules.shared import SharedBlocks

_LAYER = "encoder.albert_layer_groups.0.albert_layers.0"


class AlbertBackbone(Backbone):
    """Lan et al. 2020 (arXiv:1909.11942). Its head is the pretrained pooler (dense, tanh), then a classifier.

    In training ``dropout`` acts on both branches of a block; Hugging Face's leaves the feed-forward's alone.
    """

    prefix = "albert"
    encoder_names: ClassVar[dict[str, str | tuple[str, ...]]] = {
        "embeddings.words": "embeddings.word_embeddings",
        "embeddings.positions": "embeddings.position_embeddings",
        "embeddings.types": "embeddings.token_type_embeddings",
        "embeddings.norm": "embeddings.LayerNorm",
        "embeddings.project": "encoder.embedding_hidden_mapping_in",
        "blocks.{i}.qkv": (f"{_LAYER}.attention.query", f"{_LAYER}.attention.key", f"{_LAYER}.attention.value"),
        "blocks.{i}.mixed": f"{_LAYER}.attention.dense",
        "blocks.{i}.mixed_norm": f"{_LAYER}.attention.LayerNorm",
        "blocks.{i}.inner": f"{_LAYER}.ffn",
        "blocks.{i}.outer": f"{_LAYER}.ffn_output",
        "blocks.{i}.outer_norm": f"{_LAYER}.full_layer_layer_norm",
    }
    head_names: ClassVar = {"dense": "albert.pooler", "out": "classifier"}
    head_activation = "tanh"
    pooler_in_encoder = True
    why_not_narrowed = "its one block stands at every depth"
    config_class: ClassVar[Any] = AlbertConfig
    fixed_keys: ClassVar = {"num_hidden_groups": 1, "inner_group_num": 1}
    config_keys: ClassVar = BertBackbone.config_keys | {
        "embedding_size": "embedding_size",
        "head_dropout": "classifier_dropout_prob",
    }

    def __post_init__(self) -> None:
        """Check also that there is something to project."""
        super().__post_init__()
        if self.embedding_size in (None, self.dim):
            raise ValueError(
                f"backbone.embedding_size: expected another width than dim={self.dim} for albert, whose embeddings are "
                f"projected, got {self.embedding_size}"
            )

    def blocks(self, attention: Attention, embeddings: Embeddings | None = None) -> nn.ModuleList:
        """Build the one block of all depths."""
        return SharedBlocks(self.block(self.attentions(attention, embeddings)[0]), self.num_layers)
