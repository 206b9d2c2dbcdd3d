"""The one list of what a model's answers follow from: certificates, traces and cached features are named by it."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from eat.models.config import AdaptiveConfig
from eat.models.granted import encode

OPERATING_POINT = frozenset({"exit", "certificate", "rules"})
"""What a fingerprint leaves out: the exit is compared by itself, and certificate and rules cannot name themselves."""

# About the files that a model was loaded from, or that are read for it.
_ABOUT_FILES = frozenset({"fingerprint", "num_texts"})

# Keys that came after models were certified and traced: without a value they name nothing.
_LATER = frozenset({"engine", "weights"})

# Of the keys that every Hugging Face configuration has, those that an answer or its reading depends on.
_INHERITED = ("id2label", "problem_type")


def config_facts(
    config: PreTrainedConfig | Mapping[str, Any], without: Collection[str] = OPERATING_POINT
) -> dict[str, Any]:
    """Return what a configuration says of a model's answers: every key of `AdaptiveConfig` but some, and the labels.

    Keys are read off the class, so that a new one changes every fingerprint. A dict is that of a ``config.json``.
    """
    if not isinstance(config, PreTrainedConfig):
        config = AdaptiveConfig.from_dict(dict(config))
    kinds = (kind for kind in type(config).__mro__ if issubclass(kind, AdaptiveConfig))
    own = {key for kind in kinds for key in inspect.get_annotations(kind)} - set(without) - _ABOUT_FILES
    facts = {key: getattr(config, key) for key in (*own, *_INHERITED)}
    return {key: value for key, value in facts.items() if key not in _LATER or value is not None}


def raw_facts(config: PreTrainedConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Return what raw logits follow from: `config_facts` without the temperatures of calibrated heads."""
    facts = config_facts(config)
    return facts | {"heads": {key: value for key, value in facts["heads"].items() if key != "temperatures"}}


def model_fingerprint(model: PreTrainedModel) -> str:
    """Return 16 hex digits that name weights and configuration: all that answers follow from, but the exit.

    Of the configuration `config_facts` counts; of parameters and buffers their values and dtype, not their device or
    memory layout. MiniLM-L6's 91 MB take about a tenth of a second.
    """
    digest = hashlib.sha256(encode(config_facts(model.config)))
    add_tensors(digest, model.state_dict())
    return digest.hexdigest()[:16]


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of named tensors, the same however they are laid out in memory or spread over files."""
    digest = hashlib.sha256()
    add_tensors(digest, tensors)
    return digest.hexdigest()


def add_tensors(digest: Any, tensors: Mapping[str, Tensor]) -> None:
    """Add names, dtypes, shapes and values of tensors to a hash."""
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
