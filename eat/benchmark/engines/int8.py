"""Our encoder with int8 weights and everything off."""

import copy
import dataclasses
from pathlib import Path

import torch

from eat.benchmark.engines.engine import Call, Engine, Saved, Source, missing, save_pretrained
from eat.benchmark.engines.packed import packed_call
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.quantization import why_not_int8
from eat.models.sharing import all_off


@dataclasses.dataclass(frozen=True)
class Int8(Engine):
    """Ours, quantised from the weights as trained; left out where int8 gains nothing on this machine."""

    def why_not(self, device: torch.device) -> str | None:
        """Say that this is no CPU, or that int8 is no faster here."""
        return missing((), "", device) or why_not_int8()

    def save(self, source: Source, folder: Path, name: str) -> Saved:
        """Write the quantised model."""
        return save_pretrained(_quantized(source), folder / name, name, source.trained.backbone.pad_token_id)

    def call(self, source: Source | Saved) -> Call:
        """Answer with the quantised model."""
        if isinstance(source, Source):
            return packed_call(_quantized(source))
        return packed_call(AdaptiveForSequenceClassification.from_pretrained(source.path).eval())


def _quantized(source: Source) -> AdaptiveForSequenceClassification:
    # A copy with its own tensors: those of `all_off` are the trained model's, which stays in its type.
    return copy.deepcopy(all_off(source.trained)).float().quantize(anyway=True)
