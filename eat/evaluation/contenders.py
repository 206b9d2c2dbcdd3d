"""Who takes part in a benchmark: each answers a list of token-id lists with logits on the host.

Padding, packing and copying back happen inside the call, because a user waits for them as well. The Hugging Face
contender gets what `DataCollatorWithPadding` would give it, by the shortest way there is: no mask where nothing is
padded, and SDPA. Making it slower than it can be would make every ratio worthless.
"""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from transformers import PreTrainedModel

from eat.evaluation.sweep import ExitSpec, label
from eat.evaluation.timing import Call
from eat.models.classifier import AdaptiveForSequenceClassification

Encoded = Mapping[str, Sequence[int]]
"""One tokenised example: ``input_ids`` and, where the tokenizer gives them, ``token_type_ids``."""

PADDED = "huggingface_sdpa_padded"
GROUPED = "huggingface_sdpa_grouped"
ALL_OFF = "eat_all_off"
"""The baselines: Hugging Face on padded batches in random order (the 1.00x), grouped by length, ours all off."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to answer a batch.

    Attributes:
        name: Unique in a benchmark.
        engine: What runs it, for the column of that name.
        call: Batch in, logits out.
        exit: Operating point of ours; None for baselines.
        grouped: Whether its batches hold examples of like length.
    """

    name: str
    engine: str
    call: Call
    exit: ExitSpec | None = None
    grouped: bool = False


def build_contenders(model: AdaptiveForSequenceClassification, exits: Sequence[ExitSpec]) -> tuple[Contender, ...]:
    """List the contenders for a trained model, the one that all are divided by first.

    Args:
        model: The model; it is not changed. All contenders of ours share its weights.
        exits: Operating points to measure.
    """
    theirs = hugging_face_call(model.to_hugging_face(), model.backbone.pad_token_id)
    baselines = (
        Contender(PADDED, PADDED, theirs),
        Contender(GROUPED, GROUPED, theirs, grouped=True),
        Contender(ALL_OFF, "eat", packed_call(all_off(model))),
    )
    points = []
    for spec in exits:
        variant = sharing_copy(model)
        variant.set_exit(**spec)
        points.append(Contender(label(spec), "eat", packed_call(variant), exit=dict(spec)))
    return (*baselines, *points)


def sharing_copy(model: AdaptiveForSequenceClassification) -> AdaptiveForSequenceClassification:
    """Copy a model in evaluation mode; the copy has its own parts and configuration but the same tensors."""
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    twin: AdaptiveForSequenceClassification = copy.deepcopy(model, shared)
    return twin.eval()


def all_off(model: AdaptiveForSequenceClassification) -> AdaptiveForSequenceClassification:
    """Return our encoder with the same weights and everything off: full attention, no pruning, full depth."""
    twin = sharing_copy(model)
    twin.set_attention(name="full")
    twin.set_pruner(name="none")
    twin.set_exit(name="never")
    return twin


def packed_call(model: AdaptiveForSequenceClassification) -> Call:
    """Answer batches with our encoder on packed rows."""
    device = next(model.parameters()).device

    def call(batch: Sequence[Encoded]) -> Float[np.ndarray, "batch classes"]:
        inputs = {
            key: torch.tensor(list(chain.from_iterable(example[key] for example in batch)), device=device)
            for key in ("input_ids", "token_type_ids")
            if key in batch[0]
        }
        lengths = torch.tensor([len(example["input_ids"]) for example in batch])
        return _on_host(model(**inputs, lengths=lengths).logits)

    return call


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
