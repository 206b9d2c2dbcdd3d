"""Who takes part in a benchmark: each answers a list of token-id lists with logits on the host."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from transformers import PreTrainedModel

from eat.benchmark.calls import Call as Call
from eat.benchmark.calls import Encoded as Encoded
from eat.benchmark.calls import hugging_face_call as hugging_face_call
from eat.benchmark.calls import packed_call as packed_call
from eat.benchmark.engines.onnx import export_onnx, onnx_call
from eat.benchmark.memory import Saved
from eat.exits.points import OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.sharing import ALL_OFF_PARTS, all_off, sharing_copy
from eat.runs.finished import no_progress_bars

PADDED = "huggingface_sdpa_padded"
GROUPED = "huggingface_sdpa_grouped"
ALL_OFF = "eat_all_off"
ONNX_FP32 = "onnxruntime_fp32"
ONNX_INT8 = "onnxruntime_int8"
"""The baselines: Hugging Face on padded batches in random order (the 1.00x), grouped by length, ours all off, and
ONNX Runtime on padded batches, as exported and with int8 products."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to answer a batch.

    Attributes:
        name: Unique in a benchmark.
        engine: What runs it, for the column of that name.
        call: Batch in, logits out.
        exit: Operating point of ours; None for baselines.
        grouped: Whether its batches hold examples of like length.
        saved: The same contender on disk, where it was written there: its memory is measured in another process.
    """

    name: str
    engine: str
    call: Call
    exit: OperatingPoint | None = None
    grouped: bool = False
    saved: Saved | None = None


def build_contenders(
    model: AdaptiveForSequenceClassification,
    exits: Sequence[OperatingPoint],
    *,
    shortcuts: Mapping[str, AdaptiveForSequenceClassification] = MappingProxyType({}),
    folder: Path | None = None,
) -> tuple[Contender, ...]:
    """List the contenders that torch runs for a trained model, the one that all are divided by first.

    Args:
        model: The model; it is not changed. All contenders of ours but the shortcuts' share its weights.
        exits: Operating points to measure.
        shortcuts: Shallower models by name, measured with everything off.
        folder: Where weights are written for the processes that memory is measured in; None writes nothing.
    """
    pad = model.backbone.pad_token_id
    plain = model.to_hugging_face()
    theirs, their_files = hugging_face_call(plain, pad), _saved(plain, "huggingface", folder, pad)
    files = _saved(model, "eat", folder, pad)
    contenders = [
        Contender(PADDED, PADDED, theirs, saved=their_files),
        Contender(GROUPED, GROUPED, theirs, grouped=True, saved=their_files),
        Contender(ALL_OFF, "eat", packed_call(all_off(model)), saved=_with_parts(files, ALL_OFF_PARTS)),
    ]
    for name, shortcut in shortcuts.items():
        shallow = all_off(shortcut)
        saved = _saved(shallow, "eat", folder and folder / name, pad)
        contenders.append(Contender(name, "eat", packed_call(shallow), saved=saved))
    for point in exits:
        variant = sharing_copy(model)
        variant.set_exit(**point.spec)
        saved = _with_parts(files, {"exit": point.spec})
        contenders.append(Contender(point.label, "eat", packed_call(variant), exit=point, saved=saved))
    return tuple(contenders)


def onnx_contenders(
    model: AdaptiveForSequenceClassification, folder: Path, *, token_types: bool
) -> tuple[Contender, ...]:
    """Export the model's dense twin and list what ONNX Runtime makes of it.

    Args:
        model: On the CPU; in whatever precision it is, the export is in float32.
        folder: Holds the exported files as long as the contenders are used.
        token_types: Whether examples have ``token_type_ids``.
    """
    pad = model.backbone.pad_token_id
    files = export_onnx(model.to_hugging_face().float(), folder, token_types=token_types)
    return tuple(
        Contender(name, name, onnx_call(file, pad), saved=Saved(engine="onnxruntime", path=str(file), pad_token_id=pad))
        for name, file in zip((ONNX_FP32, ONNX_INT8), files, strict=True)
    )


def _saved(model: PreTrainedModel, engine: str, folder: Path | None, pad_token_id: int) -> Saved | None:
    """Write a model for another process, in a folder named for its engine."""
    if folder is None:
        return None
    path = folder / engine
    with no_progress_bars():
        model.save_pretrained(path)
    parameter = next(model.parameters())
    return Saved(
        engine=engine,
        path=str(path),
        pad_token_id=pad_token_id,
        device=parameter.device.type,
        dtype=str(parameter.dtype).removeprefix("torch."),
    )


def _with_parts(saved: Saved | None, parts: Mapping[str, Mapping[str, Any]]) -> Saved | None:
    return saved and dataclasses.replace(saved, parts=dict(parts))
