"""How fast, side by side in one process, on real inputs: latency at batch 1, throughput at larger batches.

All contenders see the same examples, interleaved round by round, and every ratio is paired within a round. What comes
out is plain JSON, so that tables can be rebuilt where the weights are gone.
"""

import copy
import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from eat.benchmark.clock import num_threads
from eat.benchmark.contenders import (
    ONNX_FP32,
    ONNX_INT8,
    Contender,
    Encoded,
    build_contenders,
    onnx_contenders,
)
from eat.benchmark.engines.onnx import why_not
from eat.benchmark.protocol import measure_memory, measure_times
from eat.benchmark.settings import MIN_EXAMPLES as MIN_EXAMPLES
from eat.benchmark.settings import BenchmarkSettings as BenchmarkSettings
from eat.benchmark.tokenizing import Texts
from eat.exits.points import OperatingPoint
from eat.machine import describe_host, gpu_clocks
from eat.models.classifier import AdaptiveForSequenceClassification


def draw_examples(total: int, settings: BenchmarkSettings) -> Int[np.ndarray, " drawn"]:
    """Draw the examples to measure with, in random order, without repetition."""
    order = np.random.default_rng(settings.seed).permutation(total)
    return order[: settings.examples]


def run_benchmark(
    model: AdaptiveForSequenceClassification,
    examples: Sequence[Encoded],
    exits: Sequence[OperatingPoint],
    settings: BenchmarkSettings,
    *,
    shortcuts: Mapping[str, AdaptiveForSequenceClassification] = MappingProxyType({}),
    texts: Texts | None = None,
) -> dict[str, Any]:
    """Measure every contender.

    Args:
        model: The trained model in float32, on the device to measure on.
        examples: Token ids, in random order.
        exits: Operating points to measure live.
        settings: How much is measured.
        shortcuts: Shallower models by name, measured with everything off.
        texts: The examples' texts; with them a second line of speed-ups has tokenisation in both times.

    Returns:
        ``environment``, ``settings``, ``measurements`` (one per contender, batch size and thread count),
        ``memory``, ``not_measured`` (contender -> reason) and ``answers`` (logits of each contender at batch size 1,
        to be checked against the replayed ones).

    Raises:
        ValueError: If there are no examples, or the type of the weights does not suit the device.
        RuntimeError: If a process that measures memory fails.
    """
    if not examples:
        raise ValueError("examples must hold at least one, got none")
    device = next(model.parameters()).device
    if settings.dtype == "float16" and device.type == "cpu":
        raise ValueError("benchmark.dtype: float16 is for GPUs; use benchmark.dtype=float32 on a CPU")
    environment = describe_machine(_cast(model, settings.dtype))  # first of all: the load is the others', not ours
    absent = None if settings.onnx else "left out with benchmark.onnx=false"
    absent = absent or why_not(device)
    thread_counts = settings.threads or (torch.get_num_threads(),)
    with tempfile.TemporaryDirectory(prefix="eat-benchmark-") as folder:
        contenders = _line_up(model, exits, shortcuts, settings, Path(folder))
        if absent is None:
            contenders += onnx_contenders(model, Path(folder), token_types="token_type_ids" in examples[0])
        measurements: list[dict[str, Any]] = []
        for threads in thread_counts:
            with num_threads(threads):
                for batch_size in settings.batch_sizes:
                    measurements += measure_times(contenders, examples, texts, batch_size, settings, device)
        answers = _answer(contenders, examples[: max(measured["examples"] for measured in measurements)])
        memory = measure_memory(contenders, examples, thread_counts[0], settings) if settings.memory else {}
    return {
        "environment": environment,
        "settings": {key: _plain(value) for key, value in dataclasses.asdict(settings).items()},
        "measurements": measurements,
        "memory": memory,
        "not_measured": {} if absent is None else {ONNX_FP32: absent, ONNX_INT8: absent},
        "answers": answers,
    }


def describe_machine(model: AdaptiveForSequenceClassification) -> dict[str, Any]:
    """Name what the times depend on: device, precision, versions, and the machine with its load before the start."""
    parameter = next(model.parameters())
    on_gpu = parameter.device.type == "cuda"
    facts = {
        "device": torch.cuda.get_device_name(parameter.device) if on_gpu else "cpu",
        "dtype": str(parameter.dtype).removeprefix("torch."),
        "torch": torch.__version__,
        **describe_host(),
    }
    if find_spec("onnxruntime") is not None:
        facts["onnxruntime"] = metadata.version("onnxruntime")
    if on_gpu:
        facts |= {"tf32": torch.backends.cuda.matmul.allow_tf32, "cuda": torch.version.cuda, "gpu": gpu_clocks()}
    return facts


def _line_up(
    model: AdaptiveForSequenceClassification,
    exits: Sequence[OperatingPoint],
    shortcuts: Mapping[str, AdaptiveForSequenceClassification],
    settings: BenchmarkSettings,
    folder: Path,
) -> tuple[Contender, ...]:
    """Build the contenders that torch runs, in the precision wanted; on disk as well where memory is measured."""
    return build_contenders(
        _cast(model, settings.dtype),
        exits,
        shortcuts={name: _cast(shortcut, settings.dtype) for name, shortcut in shortcuts.items()},
        folder=folder if settings.memory else None,
    )


def _cast(model: AdaptiveForSequenceClassification, dtype: str) -> AdaptiveForSequenceClassification:
    """Return a model with weights of another type, or itself where they are of that type."""
    wanted = getattr(torch, dtype)
    return model if next(model.parameters()).dtype == wanted else copy.deepcopy(model).to(wanted)


def _answer(contenders: Sequence[Contender], examples: Sequence[Encoded]) -> dict[str, list[list[float]]]:
    """Return each contender's logits, one example at a time."""
    with torch.inference_mode():
        return {c.name: [c.call([example])[0].tolist() for example in examples] for c in contenders}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
