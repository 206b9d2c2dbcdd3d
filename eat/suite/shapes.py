"""The model shapes of the suite, with random weights: cost depends on the shape alone."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import BertConfig

from eat.models.classifier import AdaptiveForSequenceClassification

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


def build_model(
    shape: str, *, max_length: int, device: torch.device, dtype: torch.dtype, seed: int, num_layers: int | None = None
) -> AdaptiveForSequenceClassification:
    """Build a shape with random weights, everything off, and heads after a third of the layers and after the last.

    With ``num_layers``, only the first so many layers with one head after the last of them.
    """
    model = AdaptiveForSequenceClassification.from_backbone(
        shape_config(shape),
        num_layers=num_layers,
        head_depths=[] if num_layers else [early_depth(shape)],
        max_length=max_length,
        seed=seed,
    )
    torch.nn.Module.to(model, device=device, dtype=dtype)  # transformers' own `to` hides its types
    return model


def early_depth(shape: str) -> int:
    """Return the depth of the early head: a third of the layers, 2 of MiniLM's 6."""
    return int(SHAPES[shape]["num_hidden_layers"]) // 3
