"""Serve a model without torch: export it as ONNX segments with its exits kept, and run them with NumPy between."""

from importlib import import_module
from typing import Any

from eat.deployment.runner import OnnxAnswer, OnnxClassifier, OnnxOutput

__all__ = [
    "OnnxAnswer",
    "OnnxClassifier",
    "OnnxOutput",
    "PredictSettings",
    "export_onnx",
    "predict_file",
    "predict_shards",
]

_LATER = {
    "export_onnx": "eat.deployment.export",
    "predict_file": "eat.deployment.prediction.run",
    "predict_shards": "eat.deployment.prediction.shards",
    "PredictSettings": "eat.deployment.prediction.settings",
}
"""What needs torch and transformers, unlike the runner: imported when it is asked for."""


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
