"""BERT, and with it MiniLM, TinyBERT and every other checkpoint of model type ``bert``."""

import dataclasses
from typing import Any, ClassVar

from transformers import BertConfig

from eat.backbones.base import Backbone


class BertBackbone(Backbone):
    """Devlin et al. 2019. Its head is the pretrained pooler (dense, tanh), then a classifier."""

    prefix = "bert"
    encoder_names: ClassVar[dict[str, str | tuple[str, ...]]] = {
        "embeddings.words": "embeddings.word_embeddings",
        "embeddings.positions": "embeddings.position_embeddings",
        "embeddings.types": "embeddings.token_type_embeddings",
        "embeddings.norm": "embeddings.LayerNorm",
        "blocks.{i}.qkv": (
            "encoder.layer.{i}.attention.self.query",
            "encoder.layer.{i}.attention.self.key",
            "encoder.layer.{i}.attention.self.value",
        ),
        "blocks.{i}.mixed": "encoder.layer.{i}.attention.output.dense",
        "blocks.{i}.mixed_norm": "encoder.layer.{i}.attention.output.LayerNorm",
        "blocks.{i}.inner": "encoder.layer.{i}.intermediate.dense",
        "blocks.{i}.outer": "encoder.layer.{i}.output.dense",
        "blocks.{i}.outer_norm": "encoder.layer.{i}.output.LayerNorm",
    }
    head_names: ClassVar = {"dense": "bert.pooler.dense", "out": "classifier"}
    head_activation = "tanh"
    pooler_in_encoder = True
    config_class: ClassVar[Any] = BertConfig
    config_keys: ClassVar = {
        "vocab_size": "vocab_size",
        "dim": "hidden_size",
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "intermediate_size": "intermediate_size",
        "max_length": "max_position_embeddings",
        "num_types": "type_vocab_size",
        "activation": "hidden_act",
        "norm_eps": "layer_norm_eps",
        "dropout": "hidden_dropout_prob",
        "attention_dropout": "attention_probs_dropout_prob",
        "pad_token_id": "pad_token_id",
        "initializer_range": "initializer_range",
    }

    @classmethod
    def from_hf_config(cls, config: Any) -> Backbone:
        """Read the shape from a BERT-like config (also RoBERTa's and ELECTRA's, which use the same keys)."""
        shape = super().from_hf_config(config)
        classifier_dropout = getattr(config, "classifier_dropout", None)
        embedding_size = getattr(config, "embedding_size", shape.dim)
        return dataclasses.replace(
            shape,
            head_dropout=shape.dropout if classifier_dropout is None else classifier_dropout,
            embedding_size=None if embedding_size == shape.dim else embedding_size,
        )

    def to_hf_config(self, **labels: Any) -> Any:
        """Write the shape as a config of the same model type."""
        extra = {} if self.embedding_size is None else {"embedding_size": self.embedding_size}
        return super().to_hf_config(classifier_dropout=self.head_dropout, **extra | labels)
