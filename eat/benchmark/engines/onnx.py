"""ONNX Runtime as a contender: the dense Hugging Face model exported, in float32 and with int8 products.

Both graphs are what ONNX Runtime runs fastest on a CPU among those tried: the fused attention operator, no batch or
length fixed. They are measured on padded batches, like the Hugging Face model that they come from.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from transformers import PreTrainedModel

from eat.benchmark.engines.engine import Call, Encoded, Engine, Saved, Source, for_threads, missing, quiet
from eat.benchmark.engines.hugging_face import padded

REQUIRED = ("onnx", "onnxruntime", "onnxscript")
OPSET = 23  # the first with an operator for attention, which is faster than its parts
INT8_OPERATORS = ["MatMul", "Gemm", "Gather"]  # with attention among them the runtime refuses the graph
FILES = {"float32": "dense.onnx", "int8": "dense_int8.onnx"}

NOT_RUN = {"modernbert": "torch exports its rotary positions for one sequence at a time, and batches then fail"}
"""Encoders whose exported graph ONNX Runtime refuses to run, and why."""


@dataclasses.dataclass(frozen=True)
class OnnxRuntime(Engine):
    """The dense model exported; the first of both to be saved writes both files, from the weights as trained."""

    profiler: str | None = "onnxruntime"

    def why_not(self, device: torch.device) -> str | None:
        """Say which packages are missing, or that this is no CPU."""
        return missing(REQUIRED, "onnx", device)

    def cannot(self, source: Source) -> str | None:
        """Say that the exporter's graph of this encoder does not run."""
        return NOT_RUN.get((source.trained.config.backbone or {})["name"])

    def save(self, source: Source, folder: Path, name: str) -> Saved:
        """Export the model, unless that was done before."""
        file = folder / FILES[str(self.dtype)]
        if not file.exists():
            export_onnx(source.trained.to_hugging_face().float(), folder, token_types=source.token_types)
        return Saved(engine=name, path=str(file), pad_token_id=source.trained.backbone.pad_token_id)

    def call(self, source: Source | Saved) -> Call:
        """Answer from the exported file."""
        if isinstance(source, Source):
            raise TypeError("ONNX Runtime answers from an exported file: expected what `save` returned, got a model")
        return onnx_call(Path(source.path), source.pad_token_id)


def export_onnx(model: PreTrainedModel, folder: Path, *, token_types: bool) -> None:
    """Export a classifier, any batch size and length: in float32, and with int8 weights and quantised products."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    exact, int8 = (folder / name for name in FILES.values())
    inputs = {"input_ids": torch.full((2, 8), 5), "attention_mask": torch.ones(2, 8, dtype=torch.int64)}
    inputs |= {"token_type_ids": torch.zeros(2, 8, dtype=torch.int64)} if token_types else {}
    free = torch.export.Dim.DYNAMIC
    with quiet():
        program = torch.onnx.export(
            model,
            kwargs=inputs,
            dynamo=True,
            dynamic_shapes={name: {0: free, 1: free} for name in inputs},
            input_names=list(inputs),
            output_names=["logits"],
            opset_version=OPSET,
            verbose=False,
        )
        if program is None:
            raise RuntimeError("torch.onnx.export returned no program, though dynamo=True promises one")
        program.save(exact)
        graph = onnx.load(exact)
        del graph.graph.value_info[:]  # the exporter transposes weights but leaves their old shapes here
        quantize_dynamic(graph, int8, weight_type=QuantType.QInt8, op_types_to_quantize=INT8_OPERATORS)


def onnx_call(path: Path, pad_token_id: int) -> Call:
    """Answer batches with ONNX Runtime on padded arrays, with as many threads as torch has at the time."""
    from eat.deployment.runner import open_session  # here, so that a process that measures another engine holds none

    session = for_threads(lambda threads: open_session(path, threads))

    def call(batch: Sequence[Encoded]) -> Float[np.ndarray, "batch classes"]:
        inputs = padded(batch, pad_token_id, torch.device("cpu"))
        inputs.setdefault("attention_mask", torch.ones_like(inputs["input_ids"]))  # the graph asks for it always
        logits: np.ndarray = session().run(["logits"], {key: ids.numpy() for key, ids in inputs.items()})[0]
        return logits

    return call
