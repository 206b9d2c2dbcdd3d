"""How a batch is answered: a list of token-id lists in, logits on the host out.

Padding, packing and copying back happen inside the call, because a user waits for them as well. The Hugging Face call
gives what `DataCollatorWithPadding` would give, by the shortest way there is: no mask where nothing is padded, and
SDPA. Making it slower than it can be would make every ratio worthless.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from transformers import PreTrainedModel

from eat.models.classifier import AdaptiveForSequenceClassification

Encoded = Mapping[str, Sequence[int]]
"""One tokenised example: ``input_ids`` and, where the tokenizer gives them, ``token_type_ids``."""

Call = Callable[[Any], Any]
"""Answers one batch; whatever a user waits for happens inside: packing or padding, the model, logits on the host."""


def packed_call(model: AdaptiveForSequenceClassification) -> Call:
    """Answer batches with our encoder on packed rows."""
    device = next(model.parameters()).device

    def call(batch: Sequence[Encoded]) -> Float[np.ndarray, "batch classes"]:
        inputs = {
            key: torch.tensor(list(chain.from_iterable(e[key] for e in batch))).to(device, non_blocking=True)
            for key in ("input_ids", "token_type_ids")
            if key in batch[0]
        }
        lengths = torch.tensor([len(example["input_ids"]) for example in batch])
        return _on_host(model(**inputs, lengths=lengths).logits)

    return call


def with_torchs_product(call: Call) -> Call:
    """Answer as another call does, but multiply with torch's own product: the library left out of a comparison."""

    def slower(batch: Sequence[Encoded]) -> Any:
        (before, *_) = torch.backends.mkldnn.set_flags(False)
        try:
            return call(batch)
        finally:
            torch.backends.mkldnn.set_flags(before)

    return slower


def hugging_face_call(model: PreTrainedModel, pad_token_id: int) -> Call:
    """Answer batches with a Hugging Face model on padded tensors.

    Raises:
        ValueError: If the model does not use SDPA, which the comparison is defined by.
    """
    implementation = model.config._attn_implementation
    if implementation != "sdpa":
        raise ValueError(f"the Hugging Face contender must use 'sdpa' attention, got {implementation!r}")
    device = next(model.parameters()).device

    def call(batch: Sequence[Encoded]) -> Float[np.ndarray, "batch classes"]:
        return _on_host(model(**padded(batch, pad_token_id, device)).logits)

    return call


def padded(batch: Sequence[Encoded], pad_token_id: int, device: torch.device) -> dict[str, Any]:
    """Pad to the longest example, as `DataCollatorWithPadding` does; a mask only where something is padded."""
    lengths = [len(example["input_ids"]) for example in batch]
    width = max(lengths)
    inputs = {}
    for key, filler in (("input_ids", pad_token_id), ("token_type_ids", 0)):
        if key in batch[0]:
            rows = [[*example[key], *([filler] * (width - n))] for example, n in zip(batch, lengths, strict=True)]
            inputs[key] = torch.tensor(rows, device=device)
    if min(lengths) < width:
        inputs["attention_mask"] = torch.tensor([[1] * n + [0] * (width - n) for n in lengths], device=device)
    return inputs


def _on_host(logits: torch.Tensor) -> Float[np.ndarray, "batch classes"]:
    """Copy logits to the host, which also waits for the device."""
    return logits.float().cpu().numpy()
