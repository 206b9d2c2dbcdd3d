"""OpenVINO as a contender: the dense Hugging Face model converted, in float32 and statically quantised to int8.

The int8 model is what NNCF makes for transformers: smoothed activations with ranges measured on training rows, a scale
for each tensor, and weights with one for each channel. Both run on padded batches, like the model that they come from.
"""

import contextlib
import dataclasses
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from transformers import PreTrainedModel

from eat.benchmark.engines.engine import (
    CALIBRATION_ROWS,
    NO_ROWS,
    Call,
    Encoded,
    Engine,
    Saved,
    Source,
    for_threads,
    missing,
    quiet,
)
from eat.benchmark.engines.hugging_face import padded

CPU = torch.device("cpu")
FILES = {"float32": "openvino.xml", "bfloat16": "openvino.xml", "int8": "openvino_int8.xml"}
HINTS = {"float32": "f32", "bfloat16": "bf16"}
"""Precisions asked for: where a processor has bfloat16, OpenVINO takes it by itself, beside int8 with good reason."""
NEEDS = {"int8": "INT8", "bfloat16": "BF16"}
"""What OpenVINO must say that the processor can."""
TELEMETRY = "openvino_telemetry"
NOT_RUN = {"modernbert": "converted, it answers padded batches with NaN"}
"""Encoders whose converted model is wrong, and how."""


@dataclasses.dataclass(frozen=True)
class OpenVino(Engine):
    """The dense model converted from the weights as trained; the int8 one is quantised from that."""

    def why_not(self, device: torch.device) -> str | None:
        """Say which packages are missing, that this is no CPU, or that the processor cannot do int8, or bfloat16."""
        dtype = str(self.dtype)
        reason = missing(("openvino", "nncf") if dtype == "int8" else ("openvino",), "peers", device)
        if reason is not None or dtype not in NEEDS:
            return reason
        able = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return None if NEEDS[dtype] in able else f"this processor cannot do {dtype} in OpenVINO, only {', '.join(able)}"

    def cannot(self, source: Source) -> str | None:
        """Say that this encoder's answers are wrong, or that int8 ranges cannot be measured without training rows."""
        wrong = NOT_RUN.get((source.trained.config.backbone or {})["name"])
        if wrong is not None:
            return wrong
        unknown = self.dtype == "int8" and not source.calibration
        return NO_ROWS if unknown else None

    def save(self, source: Source, folder: Path, name: str) -> Saved:
        """Convert the model, unless that was done before, and quantise it where int8 is wanted."""
        exact, wanted = (folder / FILES[dtype] for dtype in ("float32", str(self.dtype)))
        pad = source.trained.backbone.pad_token_id
        if not exact.exists():
            convert(source.trained.to_hugging_face().float().cpu(), exact, token_types=source.token_types)
        if not wanted.exists():
            reason = self.cannot(source)
            if reason is not None:
                raise ValueError(f"{name}: {reason}")
            quantise(exact, wanted, [arrays([example], pad) for example in source.calibration[:CALIBRATION_ROWS]])
        return Saved(engine=name, path=str(wanted), pad_token_id=pad)

    def call(self, source: Source | Saved) -> Call:
        """Answer from the converted file."""
        if isinstance(source, Source):
            raise TypeError("OpenVINO answers from a converted file: expected what `save` returned, got a model")
        return openvino_call(Path(source.path), source.pad_token_id, HINTS.get(str(self.dtype)))


def convert(model: PreTrainedModel, path: Path, *, token_types: bool) -> None:
    """Convert a classifier, any batch size and length, with its weights in float32."""
    names = ("input_ids", "attention_mask", *(("token_type_ids",) if token_types else ()))
    with quiet(), no_telemetry():
        import openvino

        given = {name: torch.full((2, 8), int(name != "token_type_ids")) for name in names}
        converted = openvino.convert_model(model, example_input=given)
        openvino.save_model(converted, path, compress_to_fp16=False)


def quantise(source: Path, path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Quantise a converted transformer to int8, with the ranges that its activations have on these rows."""
    # NNCF draws progress bars.
    with quiet(), no_telemetry(), contextlib.redirect_stdout(io.StringIO()):
        import nncf
        import openvino

        model = _core().read_model(source)
        model = nncf.quantize(model, nncf.Dataset(rows), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(rows))
        openvino.save_model(model, path, compress_to_fp16=False)


def openvino_call(path: Path, pad_token_id: int, precision: str | None) -> Call:
    """Answer batches with OpenVINO on padded arrays, with as many threads as torch has at the time."""
    request = for_threads(lambda threads: _request(path, threads, precision))

    def call(batch: Sequence[Encoded]) -> Float[np.ndarray, "batch classes"]:
        logits = request().infer(arrays(batch, pad_token_id), share_inputs=True, share_outputs=True)
        return np.array(logits[0])  # a copy: the next call writes to the same place

    return call


def arrays(batch: Sequence[Encoded], pad_token_id: int) -> dict[str, Any]:
    """Pad a batch to arrays; the converted model always asks for a mask."""
    inputs = padded(batch, pad_token_id, CPU)
    inputs.setdefault("attention_mask", torch.ones_like(inputs["input_ids"]))
    return {name: ids.numpy() for name, ids in inputs.items()}


def _request(path: Path, threads: int, precision: str | None) -> Any:
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # the calling thread would stay pinned while the other contenders run
    }
    options |= {} if precision is None else {"INFERENCE_PRECISION_HINT": precision}
    return _core().compile_model(path, "CPU", options).create_infer_request()


def _core() -> Any:
    with quiet(), no_telemetry():
        import openvino

    return openvino.Core()


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Let what is imported meanwhile find no ``openvino_telemetry``, which sends usage data and writes to the home."""
    known, before = TELEMETRY in sys.modules, sys.modules.get(TELEMETRY)
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[TELEMETRY]
        if known:
            sys.modules[TELEMETRY] = before  # type: ignore[assignment]
