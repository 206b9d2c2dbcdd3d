"""Serve a model without torch: export it as ONNX segments with its exits kept, and run them with NumPy between."""

from typing import Any

from eat.deployment.runner import OnnxAnswer, OnnxClassifier, OnnxOutput

__all__ = ["OnnxAnswer", "OnnxClassifier", "OnnxOutput", "export_onnx"]


def __getattr__(name: str) -> Any:
    """Import the export when it is asked for: unlike the runner it needs torch, transformers and onnx."""
    if name == "export_onnx":
        from eat.deployment.export import export_onnx

        return export_onnx
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
