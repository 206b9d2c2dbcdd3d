"""Hugging Face's own model on padded batches: the 1.00x, and the same in bfloat16 where a CPU is faster in it.

The call gives what `DataCollatorWithPadding` would give, by the shortest way there is: no mask where nothing is padded,
and SDPA. Making it slower than it can be would make every ratio worthless.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import logging as transformers_logging

from eat.benchmark.engines.engine import Call, Encoded, Engine, Saved, Source, missing, on_host, save_pretrained
from eat.models.quantization import why_not


@dataclasses.dataclass(frozen=True)
class HuggingFace(Engine):
    """The plain model with the same weights; all of it in its own type where it has one."""

    profiler: str | None = "torch"

    def why_not(self, device: torch.device) -> str | None:
        """Say, where it has a type of its own, that this is no CPU, or that float32 is as fast here."""
        return None if self.dtype is None else missing((), "", device) or why_not("bf16")

    def save(self, source: Source, folder: Path, name: str) -> Saved:
        """Write the plain model."""
        place = folder / "_".join(filter(None, ("huggingface", self.dtype)))
        return save_pretrained(self._typed(source).hugging_face, place, name, source.model.backbone.pad_token_id)

    def call(self, source: Source | Saved) -> Call:
        """Answer with the plain model."""
        if isinstance(source, Source):
            return hugging_face_call(self._typed(source).hugging_face, source.model.backbone.pad_token_id)
        transformers_logging.disable_progress_bar()
        plain = AutoModelForSequenceClassification.from_pretrained(source.path, trust_remote_code=False)
        return hugging_face_call(plain.to(**source.place).eval(), source.pad_token_id)

    def _typed(self, source: Source) -> Source:
        return source if self.dtype is None else dataclasses.replace(source, dtype=getattr(torch, self.dtype))


def hugging_face_call(model: PreTrainedModel, pad_token_id: int) -> Call:
    """Answer batches with a Hugging Face model on padded tensors.

    Raises:
        ValueError: If the model does not use SDPA, which the comparison is defined by, though its encoder has it
            (MPNet's has not).
    """
    encoder = cast(PreTrainedModel, model.base_model)
    implementation = encoder.config._attn_implementation
    if implementation != "sdpa" and encoder._supports_sdpa:
        raise ValueError(f"the Hugging Face contender must use 'sdpa' attention, got {implementation!r}")
    device = next(model.parameters()).device

    def call(batch: Sequence[Encoded]) -> Float[np.ndarray, "batch classes"]:
        return on_host(model(**padded(batch, pad_token_id, device)).logits)

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
