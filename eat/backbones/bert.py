"""BERT, and with it MiniLM, TinyBERT and every other checkpoint of model type ``bert``."""

from typing import Any, ClassVar

from transformers import BertConfig

from eat.backbones.base import Backbone

LAYER_NAMES: dict[str, str | tuple[str, ...]] = {
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
EMBEDDING_NAMES: dict[str, str | tuple[str, ...]] = {
    "embeddings.words": "embeddings.word_embeddings",
    "embeddings.positions": "embeddings.position_embeddings",
    "embeddings.types": "embeddings.token_type_embeddings",
    "embeddings.norm": "embeddings.LayerNorm",
}


class BertBackbone(Backbone):
    """Devlin et al. 2019. Its head is the pretrained pooler (dense, tanh), then a classifier."""

    prefix = "bert"
    encoder_names: ClassVar = EMBEDDING_NAMES | LAYER_NAMES
    head_names: ClassVar = {"dense": "bert.pooler.dense", "out": "classifier"}
    head_activation = "tanh"
    pooler_in_encoder = True
    config_class: ClassVar[Any] = BertConfig

    @classmethod
    def from_hf_config(cls, config: Any) -> Backbone:
        """Read the shape from a BERT-like config (also RoBERTa's and ELECTRA's, which use the same keys)."""
        classifier_dropout = getattr(config, "classifier_dropout", None)
        embedding_size = getattr(config, "embedding_size", config.hidden_size)
        return cls(
            vocab_size=config.vocab_size,
            dim=config.hidden_size,
            num_layers=config.num_hidden_layers,
            num_heads=config.num_attention_heads,
            intermediate_size=config.intermediate_size,
            max_length=config.max_position_embeddings - cls.position_offset,
            num_types=config.type_vocab_size,
            embedding_size=None if embedding_size == config.hidden_size else embedding_size,
            activation=config.hidden_act,
            norm_eps=config.layer_norm_eps,
            dropout=config.hidden_dropout_prob,
            attention_dropout=config.attention_probs_dropout_prob,
            head_dropout=config.hidden_dropout_prob if classifier_dropout is None else classifier_dropout,
            pad_token_id=config.pad_token_id,
            sep_token_id=getattr(config, "sep_token_id", None),
            initializer_range=config.initializer_range,
        )

    def to_hf_config(self, **labels: Any) -> Any:
        """Write the shape as a config of the same model type."""
        extra: dict[str, Any] = {} if self.embedding_size is None else {"embedding_size": self.embedding_size}
        return self.config_class(
            vocab_size=self.vocab_size,
            hidden_size=self.dim,
            num_hidden_layers=self.num_layers,
            num_attention_heads=self.num_heads,
            intermediate_size=self.intermediate_size,
            max_position_embeddings=self.max_length + self.position_offset,
            type_vocab_size=self.num_types,
            hidden_act=self.activation,
            layer_norm_eps=self.norm_eps,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.attention_dropout,
            classifier_dropout=self.head_dropout,
            pad_token_id=self.pad_token_id,
            initializer_range=self.initializer_range,
            **extra,
            **labels,
        )
