"""Small random encoders of every model type, for tests and the demo: no download, no pretrained weights."""

from typing import Any

from transformers import PreTrainedConfig

from eat.backbones import BACKBONES


def tiny_config(
    model_type: str = "bert",
    *,
    vocab_size: int = 128,
    dim: int = 32,
    num_layers: int = 4,
    num_heads: int = 4,
    intermediate_size: int = 64,
    max_length: int = 128,
    dropout: float = 0.1,
) -> PreTrainedConfig:
    """Return the Hugging Face config of a small encoder; ``from_backbone`` gives it random weights."""
    BACKBONES.checked("model_type", model_type)
    # What the published checkpoints of a type have in another way than BERT's.
    own: dict[str, dict[str, Any]] = {
        "albert": {"embedding_size": dim // 2},
        "distilbert": {"num_types": 0},
        "electra": {"embedding_size": dim // 2},
        "modernbert": {"local_window": 8},
        "mpnet": {"num_types": 0, "pad_token_id": 1},
        "roberta": {"num_types": 1, "pad_token_id": 1},
        "xlm-roberta": {"num_types": 1, "pad_token_id": 1},
    }
    backbone = BACKBONES[model_type](
        vocab_size=vocab_size,
        dim=dim,
        num_layers=num_layers,
        num_heads=num_heads,
        intermediate_size=intermediate_size,
        max_length=max_length,
        dropout=dropout,
        attention_dropout=dropout,
        head_dropout=dropout,
        **own.get(model_type, {}),
    )
    return backbone.to_hf_config()
