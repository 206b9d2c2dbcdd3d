"""Our encoder on packed rows: no padding, tokens and sequences really leave."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from transformers.utils import logging as transformers_logging

from eat.benchmark.engines.engine import Call, Encoded, Engine, Saved, Source, joined, on_host, save_pretrained
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.sharing import ALL_OFF_PARTS
from eat.models.tracer import Tracer, model_tracer


@dataclasses.dataclass(frozen=True)
class Packed(Engine):
    """Ours; `Saved.parts` holds what switches everything off, or sets an operating point."""

    profiler: str | None = "torch"

    def save(self, source: Source, folder: Path, name: str) -> Saved:
        """Write the model with the parts that it has."""
        return save_pretrained(source.model, folder / "eat", name, source.model.backbone.pad_token_id)

    def call(self, source: Source | Saved) -> Call:
        """Answer with the model as it is, or with one from files that gets the parts of `Saved` first."""
        return packed_call(source.model) if isinstance(source, Source) else saved_call(source)

    def tracer(self, source: Source, folder: Path) -> Tracer:
        """Trace the model as it is."""
        return model_tracer(source.model)


def saved_call(saved: Saved) -> Call:
    """Answer with one of our models from files, which gets the parts that are named first."""
    unknown = sorted(set(saved.parts) - set(ALL_OFF_PARTS))
    if unknown:
        raise ValueError(f"parts: expected some of {list(ALL_OFF_PARTS)}, got {unknown}")
    transformers_logging.disable_progress_bar()
    model = AdaptiveForSequenceClassification.from_pretrained(saved.path)
    for part, spec in saved.parts.items():
        getattr(model, f"set_{part}")(**spec)
    return packed_call(model.to(**saved.place).eval())


def packed_call(model: AdaptiveForSequenceClassification) -> Call:
    """Answer batches with our encoder on packed rows."""
    device = next(model.parameters()).device

    def call(batch: Sequence[Encoded]) -> Float[np.ndarray, "batch classes"]:
        columns, lengths = joined(batch)
        inputs = {key: torch.tensor(values).to(device, non_blocking=True) for key, values in columns.items()}
        return on_host(model(**inputs, lengths=torch.tensor(lengths)).logits)

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
