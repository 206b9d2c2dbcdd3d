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

    config_class: ClassVar[Any] = DistilBertConfig
    config_keys: ClassVar = {
        "vocab_size": "vocab_size",
        "dim": "dim",
        "num_layers": "n_layers",
        "num_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "max_length": "max_position_embeddings",
        "activation": "activation",
        "dropout": "dropout",
        "attention_dropout": "attention_dropout",
        "head_dropout": "seq_classif_dropout",
        "pad_token_id": "pad_token_id",
        "initializer_range": "initializer_range",
    }
