"""Our exported segments on ONNX Runtime: tokens and sequences really leave, without torch."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from eat.benchmark.engines.engine import (
    CALIBRATION_ROWS,
    NO_ROWS,
    Call,
    Encoded,
    Engine,
    Saved,
    Source,
    for_threads,
    joined,
    missing,
)
from eat.models.binary import why_not_quantized
from eat.models.tracer import Tracer

REQUIRED = ("onnx", "onnxruntime")


@dataclasses.dataclass(frozen=True)
class OnnxSegments(Engine):
    """Exported with everything that the model has; `Saved.parts` sets another exit, pruner or attention."""

    profiler: str | None = "onnxruntime"

    def why_not(self, device: torch.device) -> str | None:
        """Say which packages are missing, or that this is no CPU."""
        return missing(REQUIRED, "onnx", device)

    def cannot(self, source: Source) -> str | None:
        """Say that there are no segments of this encoder, that int8 ones would have binary weights, or no ranges."""
        reasons = [source.trained.backbone.no_segments]
        if self.dtype == "int8":
            reasons.append(why_not_quantized(source.trained))
        if self.calibrated and not source.calibration:
            reasons.append(NO_ROWS)
        return next(filter(None, reasons), None)

    @property
    def bits(self) -> int | None:
        """Bits that an export for this processor has in its int8 products."""
        from eat.deployment.export import default_bits  # here and below, so that processes for others hold none of it

        return default_bits() if self.dtype == "int8" else None

    def save(self, source: Source, folder: Path, name: str) -> Saved:
        """Export the model, unless that was done before."""
        path = folder / name
        if not path.exists():
            self._export(source, path)
        return Saved(engine=name, path=str(path), pad_token_id=source.trained.backbone.pad_token_id)

    def call(self, source: Source | Saved) -> Call:
        """Answer from the exported folder."""
        if isinstance(source, Source):
            raise TypeError("ONNX Runtime answers from exported files: expected what `save` returned, got a model")
        return segments_call(Path(source.path), source.parts)

    def tracer(self, source: Source, folder: Path) -> Tracer:
        """Export the model and run all segments of it."""
        from eat.deployment import OnnxClassifier

        self._export(source, folder)
        model = OnnxClassifier.from_folder(folder, torch.get_num_threads())

        def answer(batch: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
            types = batch["token_type_ids"].numpy() if "token_type_ids" in batch else None
            output = model.run(batch["input_ids"].numpy(), batch["lengths"].numpy(), types, trace=True)
            assert output.all_logits is not None
            return output.all_logits, output.tokens_kept

        return answer

    def _export(self, source: Source, folder: Path) -> None:
        from eat.deployment import export_onnx

        rows = source.calibration[:CALIBRATION_ROWS] if self.calibrated else None
        export_onnx(source.trained, None, folder, int8=self.dtype == "int8", calibration=rows)


def segments_call(folder: Path, parts: Mapping[str, Mapping[str, Any]]) -> Call:
    """Answer batches from an exported folder, with as many threads as torch has at the time."""
    from eat.deployment import OnnxClassifier

    model = for_threads(lambda threads: OnnxClassifier.from_folder(folder, threads).changed(**parts))

    def call(batch: Sequence[Encoded]) -> Float[np.ndarray, "batch classes"]:
        columns, lengths = joined(batch)
        return model().run(columns["input_ids"], lengths, columns.get("token_type_ids")).logits

    return call
