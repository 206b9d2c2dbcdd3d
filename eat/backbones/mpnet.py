"""MPNet: RoBERTa with a position bias on attention scores that all layers share."""

from typing import Any, ClassVar

from transformers import MPNetConfig

from eat.attention import Attention
from eat.attention.grouped import GroupedAttention
from eat.backbones.roberta import RobertaBackbone
from eat.modules.embeddings import Embeddings
from eat.modules.relative import RelativeBias

BUCKETS = 32  # of distances; Hugging Face's code is written for these alone


class MPNetBackbone(RobertaBackbone):
    """Song et al. 2020 (arXiv:2004.09297), and with it all-mpnet-base-v2 and others of type ``mpnet``.

    Positions count as RoBERTa's do, and so looks the head; there are no token types.
    """

    prefix = "mpnet"
    encoder_names: ClassVar[dict[str, str | tuple[str, ...]]] = {
        "embeddings.words": "embeddings.word_embeddings",
        "embeddings.positions": "embeddings.position_embeddings",
        "embeddings.norm": "embeddings.LayerNorm",
        "embeddings.position_bias.table": "encoder.relative_attention_bias",
        "blocks.{i}.qkv": (
            "encoder.layer.{i}.attention.attn.q",
            "encoder.layer.{i}.attention.attn.k",
            "encoder.layer.{i}.attention.attn.v",
        ),
        "blocks.{i}.mixed": "encoder.layer.{i}.attention.attn.o",
        "blocks.{i}.mixed_norm": "encoder.layer.{i}.attention.LayerNorm",
        "blocks.{i}.inner": "encoder.layer.{i}.intermediate.dense",
        "blocks.{i}.outer": "encoder.layer.{i}.output.dense",
        "blocks.{i}.outer_norm": "encoder.layer.{i}.output.LayerNorm",
    }
    why_not_narrowed = "its heads share a position bias with those of all blocks"
    why_not_onnx = "its position bias has no graph"
    config_class: ClassVar[Any] = MPNetConfig
    config_keys: ClassVar = {ours: name for ours, name in RobertaBackbone.config_keys.items() if ours != "num_types"}
    fixed_keys: ClassVar = {"relative_attention_num_buckets": BUCKETS}

    def embeddings(self) -> Embeddings:
        """Build the embeddings, with the bias that attention reads."""
        embeddings = super().embeddings()
        embeddings.position_bias = RelativeBias(BUCKETS, self.num_heads)
        return embeddings

    def attentions(self, attention: Attention, embeddings: Embeddings | None = None) -> list[Attention]:
        """Return the given part for every block, which adds the bias to its scores.

        Raises:
            ValueError: If the part cannot add one.
        """
        if not isinstance(attention, GroupedAttention):
            raise ValueError(
                f"attention: expected full or windowed with an mpnet encoder, whose position bias other parts do not "
                f"add, got {type(attention).__name__}"
            )
        attention.bias = None if embeddings is None else embeddings.position_bias
        return super().attentions(attention, embeddings)
