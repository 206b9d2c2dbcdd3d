"""Copy a model without its weights: parts and configuration of its own on the same tensors."""

import copy
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


def all_off(model: AdaptiveForSequenceClassification) -> AdaptiveForSequenceClassification:
    """Return our encoder with the same weights and everything off: full attention, no pruning, full depth."""
    twin = sharing_copy(model)
    twin.set_attention(**ALL_OFF_PARTS["attention"])
    twin.set_pruner(**ALL_OFF_PARTS["pruner"])
    twin.set_exit(**ALL_OFF_PARTS["exit"])
    return twin
