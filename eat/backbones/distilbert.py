"""DistilBERT: half of BERT's layers, no token types."""

from typing import Any, ClassVar

from transformers import DistilBertConfig

from eat.backbones.base import Backbone


class DistilBertBackbone(Backbone):
    """Sanh et al. 2019. Its head: dense, relu, dropout, classifier."""

    prefix = "distilbert"
    encoder_names: ClassVar = {
        "embeddings.words": "embeddings.word_embeddings",
        "embeddings.positions": "embeddings.position_embeddings",
        "embeddings.norm": "embeddings.LayerNorm",
        "blocks.{i}.qkv": (
            "transformer.layer.{i}.attention.q_lin",
            "transformer.layer.{i}.attention.k_lin",
            "transformer.layer.{i}.attention.v_lin",
        ),
        "blocks.{i}.mixed": "transformer.layer.{i}.attention.out_lin",
        "blocks.{i}.mixed_norm": "transformer.layer.{i}.sa_layer_norm",
        "blocks.{i}.inner": "transformer.layer.{i}.ffn.lin1",
        "blocks.{i}.outer": "transformer.layer.{i}.ffn.lin2",
        "blocks.{i}.outer_norm": "transformer.layer.{i}.output_layer_norm",
    }
    head_names: ClassVar = {"dense": "pre_classifier", "out": "classifier"}
    head_activation = "relu"

    @classmethod
    def from_hf_config(cls, config: Any) -> Backbone:
        """Read the shape from a DistilBERT config."""
        return cls(
            vocab_size=config.vocab_size,
            dim=config.dim,
            num_layers=config.n_layers,
            num_heads=config.n_heads,
            intermediate_size=config.hidden_dim,
            max_length=config.max_position_embeddings,
            num_types=0,
            activation=config.activation,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            head_dropout=config.seq_classif_dropout,
            pad_token_id=config.pad_token_id,
            sep_token_id=getattr(config, "sep_token_id", None),
            initializer_range=config.initializer_range,
        )

    def to_hf_config(self, **labels: Any) -> Any:
        """Write the shape as a DistilBERT config."""
        return DistilBertConfig(
            vocab_size=self.vocab_size,
            dim=self.dim,
            n_layers=self.num_layers,
            n_heads=self.num_heads,
            hidden_dim=self.intermediate_size,
            max_position_embeddings=self.max_length,
            activation=self.activation,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            seq_classif_dropout=self.head_dropout,
            pad_token_id=self.pad_token_id,
            initializer_range=self.initializer_range,
            **labels,
        )
