"""The engines that answer batches; those that need a package import it when they are asked to answer or to export."""

from collections.abc import Collection
from typing import Any

import torch

from eat.benchmark.engines.ctranslate2 import CTranslate2
from eat.benchmark.engines.engine import Call, Encoded, Engine, Saved, Source
from eat.benchmark.engines.hugging_face import HuggingFace
from eat.benchmark.engines.onnx import OnnxRuntime
from eat.benchmark.engines.openvino import OpenVino
from eat.benchmark.engines.packed import Packed
from eat.benchmark.engines.quantized import Quantized
from eat.benchmark.engines.segments import OnnxSegments
from eat.models.engines import EngineId
from eat.models.granted import EAT as EAT
from eat.registry import Family

__all__ = [
    "EAT",
    "ENGINES",
    "PADDED",
    "Call",
    "Encoded",
    "Engine",
    "Saved",
    "Source",
    "call_saved",
    "cannot_run",
    "not_measured",
    "traced_engine",
]

PADDED = "huggingface_sdpa_padded"
"""The baseline that everything is divided by."""
ENGINES: Family[Engine] = Family(
    "eat.engines",
    {
        PADDED: HuggingFace("Hugging Face, padded"),
        "huggingface_sdpa_grouped": HuggingFace("Hugging Face, by length", grouped=True),
        "huggingface_bf16": HuggingFace("Hugging Face, padded, bfloat16", dtype="bfloat16", exact=False),
        EAT: Packed("eat", traced=True),
        "eat_int8": Quantized("eat, int8, everything off", dtype="int8", exact=False, adaptive=True, traced=True),
        "eat_bf16": Quantized(
            "eat, bfloat16, everything off", dtype="bfloat16", exact=False, adaptive=True, traced=True, numbers="bf16"
        ),
        "onnxruntime_fp32": OnnxRuntime("ONNX Runtime, float32", dtype="float32", exported=True),
        "onnxruntime_int8": OnnxRuntime("ONNX Runtime, int8", dtype="int8", exact=False, exported=True),
        "eat_onnx": OnnxSegments(
            "eat in ONNX Runtime, float32", dtype="float32", exported=True, adaptive=True, traced=True
        ),
        "eat_onnx_int8": OnnxSegments(
            "eat in ONNX Runtime, int8", dtype="int8", exact=False, exported=True, adaptive=True, traced=True
        ),
        "eat_onnx_static": OnnxSegments(
            "eat in ONNX Runtime, static int8",
            dtype="int8",
            exact=False,
            exported=True,
            adaptive=True,
            traced=True,
            calibrated=True,
        ),
        "openvino_fp32": OpenVino("OpenVINO, float32", dtype="float32", exported=True),
        "openvino_bf16": OpenVino("OpenVINO, bfloat16", dtype="bfloat16", exact=False, exported=True),
        "openvino_int8": OpenVino("OpenVINO, static int8", dtype="int8", exact=False, exported=True, calibrated=True),
        "ctranslate2_fp32": CTranslate2("CTranslate2, float32", dtype="float32", exported=True),
        "ctranslate2_int8": CTranslate2("CTranslate2, int8", dtype="int8", exact=False, exported=True),
    },
)
"""By their names in results, in the order in which they take turns."""


def not_measured(device: torch.device, *, exported: bool = True) -> dict[str, str]:
    """Return why engines cannot be measured on a device, by name; ``exported=False`` is against those that export."""
    unwanted = "left out with benchmark.onnx=false"
    reasons = {name: unwanted if e.exported and not exported else e.why_not(device) for name, e in ENGINES.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def cannot_run(source: Source, absent: Collection[str]) -> dict[str, str]:
    """Return why engines cannot run a model, by name, but for those that are absent anyway."""
    reasons = {name: engine.cannot(source) for name, engine in ENGINES.items() if name not in absent}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def traced_engine(name: Any, device: torch.device) -> EngineId:
    """Return an engine whose heads can be traced, and which can therefore be evaluated and certified, on a device.

    Raises:
        ValueError: If there is no such engine, it knows the last head alone, or it cannot run there.
    """
    engine = ENGINES[ENGINES.checked("engine", name)]
    if not engine.traced:
        traced = [known for known, other in ENGINES.items() if other.traced]
        raise ValueError(f"engine: expected one that says what every head answers, such as {traced}, got {name!r}")
    reason = engine.cannot_trace(device)
    if reason is not None:
        raise ValueError(f"engine: {name} cannot run here: {reason}")
    return EngineId(name, engine.bits)


def call_saved(saved: Saved) -> Call:
    """Load a contender from files and return what answers batches."""
    return ENGINES[ENGINES.checked("engine", saved.engine)].call(saved)
