"""Copy a model without its weights: parts and configuration of its own on the same tensors."""

import copy
from itertools import chain

from eat.models.classifier import AdaptiveForSequenceClassification


def sharing_copy(model: AdaptiveForSequenceClassification) -> AdaptiveForSequenceClassification:
    """Copy a model in evaluation mode; the copy has its own parts and configuration but the same tensors."""
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    twin: AdaptiveForSequenceClassification = copy.deepcopy(model, shared)
    return twin.eval()
