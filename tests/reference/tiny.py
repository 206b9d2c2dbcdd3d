"""Tiny random models and batches: the package's own, and models that many tests share."""

import functools
from typing import Any

import torch

from eat.backbones import BACKBONES
from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.testing.tiny import (
    FIRST_WORD,
    SEP,
    VOCABULARY,
    batch_of,
    pack,
    randomise,
    spread_answers,
    tiny_adaptive,
    tiny_hugging_face,
    types_for,
)

__all__ = [
    "FIRST_WORD",
    "MODEL_TYPES",
    "SEP",
    "VOCABULARY",
    "batch_of",
    "configure",
    "pack",
    "pad_id",
    "randomise",
    "shared_float64",
    "spread_answers",
    "tiny_adaptive",
    "tiny_hugging_face",
    "types_for",
]

MODEL_TYPES = list(BACKBONES)


@functools.cache
def shared_float64(
    model_type: str, head_pooling: str, seed: int = 0, **options: Any
) -> AdaptiveForSequenceClassification:
    """A float64 model that many examples share, whatever ran before; callers set all three parts themselves."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return tiny_adaptive(model_type, head_pooling=head_pooling, seed=seed, **options).double()


def configure(
    model: AdaptiveForSequenceClassification, attention: dict[str, Any], pruner: dict[str, Any], exit: dict[str, Any]
) -> AdaptiveForSequenceClassification:
    """Set the three parts of a shared model."""
    model.set_attention(**attention)
    model.set_pruner(**pruner)
    model.set_exit(**exit)
    return model


def pad_id(model_type: str) -> int:
    """The padding's id."""
    return int(tiny_config(model_type).pad_token_id)
