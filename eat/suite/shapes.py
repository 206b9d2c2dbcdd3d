"""The model shapes of the suite, with random weights: cost depends on the shape alone."""

from collections.abc import Mapping
from typing import Any

from transformers import BertConfig

SHAPES: Mapping[str, Mapping[str, Any]] = {
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "bert_base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "tiny": {"hidden_size": 32, "num_hidden_layers": 6, "num_attention_heads": 2, "intermediate_size": 64},
}
"""MiniLM-L6, BERT-base, and one that only shows that the suite runs."""

SHAPE_TITLES = {"minilm": "MiniLM-L6", "bert_base": "BERT-base", "tiny": "tiny"}
VOCAB_SIZE = 30_522


def shape_config(shape: str) -> BertConfig:
    """Return a shape as Hugging Face's configuration."""
    return BertConfig(vocab_size=VOCAB_SIZE, **SHAPES[shape])


def early_depth(shape: str) -> int:
    """Return the depth of the early head: a third of the layers, 2 of MiniLM's 6."""
    return int(SHAPES[shape]["num_hidden_layers"]) // 3
