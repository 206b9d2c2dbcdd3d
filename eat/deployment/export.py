"""Export a model as ONNX segments: one graph between two places where rows or sequences may leave."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from eat.checks import folder_name, one_of, plain, true_or_false
from eat.data.encoding import template_of
from eat.data.tokenizer import read_tokenizer
from eat.deployment import manifest as manifests
from eat.deployment.activations import measure_activations, rows_digest
from eat.deployment.exits import check_exit
from eat.deployment.manifest import EXPORTS, FORMAT, Manifest, Segment, Template, check_certificate
from eat.deployment.pruning import check_pruner
from eat.deployment.runner import has_vnni
from eat.exits.points import OperatingPoint
from eat.files import replacing_folder
from eat.models.binary import why_not_quantized
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.engines import EngineId
from eat.models.granted import engine_of


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """What ``eat export`` writes."""

    format: str = "onnx"  # onnx in float32, onnx_int8, or onnx_static: int8 with ranges measured on training rows
    bits: int | None = None  # of an activation in int8: 7 for processors without VNNI, else 8; None asks this one
    certified: bool = True  # false leaves out certificate and rules, and exports what others were certified for alone

    def __post_init__(self) -> None:
        """Check the values."""
        one_of("format", self.format, EXPORTS)
        true_or_false("certified", self.certified)
        self.engine  # noqa: B018  # which checks the bits

    @property
    def engine(self) -> EngineId:
        """What runs the export."""
        return engine_of_export(int8=self.format != "onnx", bits=self.bits, static=self.format == "onnx_static")


def export_onnx(
    model: AdaptiveForSequenceClassification | str | Path,
    tokenizer: PreTrainedTokenizerBase | str | Path | None,
    folder: str | Path,
    *,
    int8: bool = False,
    bits: int | None = None,
    calibration: Sequence[Mapping[str, Sequence[int]]] | None = None,
    certificate: Mapping[str, Any] | None = None,
) -> Path:
    """Write a folder that `OnnxClassifier.from_folder` serves without torch; it is there whole or not at all.

    The model keeps its exit, pruner, attention and temperatures. A certificate holds for the engine that it was made
    with alone, so a certified model of torch is refused: give the one that was made with the export's engine
    (`eat.runs.finished.FinishedRun.model_of`), or set ``model.config.certificate`` to None.

    Args:
        model: The model, or a folder that it was saved in.
        tokenizer: Its tokenizer, or a folder with one; None leaves it out, so that only token ids can be answered.
        folder: Where to write.
        int8: Multiply the blocks' weights in int8, with a scale for each row and each channel.
        calibration: ``input_ids`` and perhaps ``token_type_ids`` of training rows: int8 then has ranges that are
            measured on them (`eat.deployment.activations`) in place of each row's own scale. Faster, and right for
            texts like those.
        bits: Of an activation in int8: 8 where the processor that serves has VNNI, else 7, which no product saturates
            on. Default: what this processor can.
        certificate: The certificate of the engine that runs the export, for this model and its exit.

    Returns:
        The folder.

    Raises:
        ImportError: If onnx is not installed.
        ValueError: If a part of the model cannot be exported, an option is out of range, or the certificate is of
            another engine, model or exit.
    """
    if find_spec("onnx") is None:
        raise ImportError("onnx is not installed: pip install 'eat-transformers[onnx]'")
    from eat.deployment.segments import segment_model  # needs onnx

    folder = Path(folder_name("folder", folder))
    engine = engine_of_export(int8=int8, bits=bits, static=calibration is not None)
    if not isinstance(model, AdaptiveForSequenceClassification):
        model = AdaptiveForSequenceClassification.from_pretrained(folder_name("model", model))
    assert isinstance(model, AdaptiveForSequenceClassification)
    if isinstance(tokenizer, str | Path):
        tokenizer = read_tokenizer(Path(tokenizer), "take a whole copy of the model's folder")
    described = _describe(model, tokenizer, engine, certificate)
    if certificate is not None and calibration is not None:
        _check_calibration(certificate, calibration)
    activations = {} if calibration is None else measure_activations(model, calibration)
    with replacing_folder(folder, manifests.FILE) as partial:
        for segment in described["segments"]:
            graph = segment_model(
                model,
                segment.start,
                segment.end,
                received=segment.received,
                bits=engine.bits,
                activations=activations,
            )
            (partial / segment.file).write_bytes(graph.SerializeToString())
        if tokenizer is not None:
            tokenizer.backend_tokenizer.save(str(partial / manifests.TOKENIZER))
        digests = {file.name: manifests.digest_of(file) for file in sorted(partial.iterdir())}
        text = Manifest(**described, files=digests).text()
        (partial / manifests.FILE).write_text(text, encoding="utf-8")
    for file in folder.glob("segment_*_to_*.onnx"):  # of an export that was replaced
        if file.name not in digests:
            file.unlink()
    return folder


def _check_calibration(certificate: Mapping[str, Any], rows: Sequence[Mapping[str, Sequence[int]]]) -> None:
    """Refuse a certificate made with ranges of other rows; one of an earlier version does not say which."""
    given = rows_digest(rows)
    if certificate.get("calibration", given) != given:
        raise ValueError(
            f"calibration: expected the rows that the certificate was made with ({certificate['calibration']}), whose "
            f"ranges it rests on, got others ({given}); `eat export` takes the run's own"
        )


def engine_of_export(*, int8: bool, bits: int | None = None, static: bool = False) -> EngineId:
    """Return what runs an export; as this processor computes int8 best unless bits are given.

    Raises:
        ValueError: If bits are neither 7 nor 8, or they or ranges measured beforehand are given without int8.
    """
    if static and not int8:
        raise ValueError("calibration: expected none without int8, whose ranges it is for")
    if bits not in (None, 7, 8) or (bits is not None and not int8):
        raise ValueError(f"bits: expected 7 or 8, with int8 alone, got {bits!r}")
    if not int8:
        return EngineId("eat_onnx")
    return EngineId("eat_onnx_static" if static else "eat_onnx_int8", bits or default_bits())


def default_bits() -> int:
    """Return the bits of an activation in int8 products that this processor computes exactly: 8 with VNNI, else 7."""
    return 8 if has_vnni() else 7


def _describe(
    model: AdaptiveForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase | None,
    engine: EngineId,
    certificate: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the manifest's values, but for the files."""
    backbone, config = model.backbone, model.config
    if backbone.no_segments is not None:
        name = (config.backbone or {})["name"]
        raise ValueError(f"export: encoders of type {name} cannot be exported: {backbone.no_segments}")
    if config.engine is not None:
        name = config.engine["name"]
        raise ValueError(
            f"model: expected float32 weights, got {name} ones; export the float32 model they were made of"
        )
    if engine.bits is not None and (binary := why_not_quantized(model)) is not None:
        raise ValueError(f"int8: {binary}; export in float32 (format=onnx)")
    if model.rules:
        raise ValueError("model: sufficient rules cannot be exported; remove them first (model.set_rules(None))")
    parts = export_parts(model)
    check_pruner(parts["pruner"])
    check_exit(parts["exit"], config.num_outputs, config.multi_label)
    if config.certificate is not None:
        raise ValueError(
            f"model: its certificate was made with {engine_of(config.certificate)} and says nothing of {engine.label}; "
            f"certify that (evaluate.py engine={engine.name} stages=[certify]) and export the run, or drop it "
            "(model.config.certificate = None)"
        )
    fingerprint = engine.model_fingerprint(model)
    if certificate is not None:
        check_certificate(certificate, "certificate", engine.name, engine.bits, fingerprint, parts["exit"])
    return parts | {
        "format": FORMAT,
        "engine": engine.name,
        "bits": engine.bits,
        "segments": _segments(model),
        "dim": backbone.dim,
        "vocab_size": backbone.vocab_size,
        "num_types": backbone.num_types,
        "max_length": backbone.max_length,
        "position_offset": backbone.position_offset,
        "protected_id": model._protected_id,
        "temperatures": list(map(float, model.temperatures)),
        "labels": [str(name) for _, name in sorted((config.id2label or {}).items())],
        "fingerprint": fingerprint,
        "certificate": None if certificate is None else dict(certificate),
        "templates": templates_of(tokenizer),
        "multi_label": config.multi_label,
        "num_texts": config.num_texts,
    }


def export_parts(model: AdaptiveForSequenceClassification) -> dict[str, dict[str, Any]]:
    """Return attention, pruner and exit with every argument, as the runner reads them."""
    config, pruner = model.config, model.pruner
    attention = dict(config.attention or {})
    if attention["name"] == "windowed":
        attention = {"name": "windowed", "window": 32, "global_tokens": ["cls"]} | attention
    spec: dict[str, Any] = {"name": (config.pruner or {})["name"]}
    if pruner.depths:
        spec |= {name: getattr(pruner, name) for name in ("min_tokens", "min_retention")}
        spec |= {"depths": list(pruner.depths), "ratio": list(pruner.ratios.values())}  # type: ignore[attr-defined]
        spec |= {"seed": pruner.seed} if hasattr(pruner, "seed") else {}
    exits: Mapping[str, Any] = {"name": "never"}
    if model.exit_criterion.active:
        exits = OperatingPoint.of(config.exit or {}).spec
    return {"attention": plain(attention), "pruner": plain(spec), "exit": plain(dict(exits))}


def _segments(model: AdaptiveForSequenceClassification) -> list[Segment]:
    ends = sorted({*model.head_depths, *model.pruner.depths})
    return [
        Segment(
            file=f"segment_{start + 1}_to_{end}.onnx",
            start=start,
            end=end,
            head=end in model.head_depths,
            received=end in model.pruner.depths and model.pruner.needs(end),
        )
        for start, end in zip([0, *ends[:-1]], ends, strict=True)
    ]


def templates_of(tokenizer: PreTrainedTokenizerBase | None) -> Sequence[Template]:
    """Return where special tokens stand around one text, and around a pair; nothing without a tokenizer."""
    if tokenizer is None:
        return []
    found = [template_of(tokenizer, num_texts) for num_texts in (1, 2)]
    return [
        Template(
            special_ids=list(map(list, one.special_ids)),
            special_types=list(map(list, one.special_types)),
            text_types=list(one.text_types),
        )
        for one in found
    ]
