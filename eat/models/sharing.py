"""Copy a model without its weights: parts and configuration of its own on the same tensors."""

import copy
from collections.abc import Mapping
from itertools import chain
from typing import Any

from eat.models.classifier import AdaptiveForSequenceClassification

ALL_OFF_PARTS: dict[str, dict[str, Any]] = {
    "attention": {"name": "full"},
    "pruner": {"name": "none"},
    "exit": {"name": "never"},
}


def sharing_copy(model: AdaptiveForSequenceClassification) -> AdaptiveForSequenceClassification:
    """Copy a model in evaluation mode; the copy has its own parts and configuration but the same tensors."""
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, shared).eval()


def to_full_depth(model: AdaptiveForSequenceClassification) -> None:
    """Let a model run every sequence to its end: it has no exit and no sufficient rules from now on."""
    model.set_rules(None)
    model.set_exit(name="never")


def all_off(model: AdaptiveForSequenceClassification) -> AdaptiveForSequenceClassification:
    """Return our encoder with the same weights and everything off: full attention, no pruning, full depth."""
    twin = variant(model, **ALL_OFF_PARTS)
    twin.set_rules(None)
    return twin


def variant(model: AdaptiveForSequenceClassification, **parts: Mapping[str, Any]) -> AdaptiveForSequenceClassification:
    """Return the same weights with another attention, pruner or exit; parts that are not given stay."""
    twin = sharing_copy(model)
    for part, spec in parts.items():
        getattr(twin, f"set_{part}")(**spec)
    return twin
