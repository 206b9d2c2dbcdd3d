"""Our encoder with int8 or bfloat16 weights: tokens and sequences really leave, as in float32."""

import copy
import dataclasses
from pathlib import Path

import torch

from eat.benchmark.engines.engine import Call, Engine, Saved, Source, missing, save_pretrained
from eat.benchmark.engines.packed import packed_call, saved_call
from eat.models.binary import why_not_quantized
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.quantization import why_not
from eat.models.tracer import Tracer, model_tracer
from eat.ops.int8 import best_bits


@dataclasses.dataclass(frozen=True)
class Quantized(Engine):
    """Ours, quantised from the weights as trained; not measured where that gains nothing on this machine."""

    numbers: str = "int8"  # of `eat.models.quantization.GAINS`
    profiler: str | None = "torch"

    @property
    def bits(self) -> int | None:
        """Bits that this processor multiplies exactly in int8, as `quantize` chooses them; None in bfloat16."""
        return best_bits() if self.numbers == "int8" else None

    def why_not(self, device: torch.device) -> str | None:
        """Say that this is no CPU, or that float32 is as fast here."""
        return self.cannot_trace(device) or why_not(self.numbers)

    def cannot_trace(self, device: torch.device) -> str | None:
        """Say that this is no CPU."""
        return missing((), "", device)

    def cannot(self, source: Source) -> str | None:
        """Say that the weights are binary."""
        return why_not_quantized(source.trained)

    def save(self, source: Source, folder: Path, name: str) -> Saved:
        """Write the quantised model."""
        return save_pretrained(self._quantized(source), folder / name, name, source.trained.backbone.pad_token_id)

    def call(self, source: Source | Saved) -> Call:
        """Answer with the quantised model, or with one from files that gets the parts of `Saved` first."""
        return packed_call(self._quantized(source)) if isinstance(source, Source) else saved_call(source)

    def tracer(self, source: Source, folder: Path) -> Tracer:
        """Trace the quantised model."""
        return model_tracer(self._quantized(source))

    def _quantized(self, source: Source) -> AdaptiveForSequenceClassification:
        # A copy with its own tensors: those of a sharing one are the trained model's, which stays in its type.
        return copy.deepcopy(source.trained).float().quantize(self.numbers, anyway=True)
