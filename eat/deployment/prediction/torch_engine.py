"""A saved model in torch, float32, int8 or bfloat16, as what answers texts."""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eat.checks import shown
from eat.data.tokenizer import read_tokenizer
from eat.deployment.encoding import Encoded, TextEncoder
from eat.deployment.export import templates_of
from eat.deployment.prediction.engines import warn_of_threshold
from eat.deployment.prediction.settings import SAVED, PredictSettings
from eat.deployment.runner import OnnxOutput
from eat.exits.points import OperatingPoint
from eat.files import read_object
from eat.machine import chosen_device
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.config import AdaptiveConfig
from eat.models.engines import in_torch
from eat.models.fingerprint import model_fingerprint
from eat.models.granted import IN_TORCH
from eat.packed import AdaptiveOutput
from eat.runs.finished import FinishedRun, no_progress_bars

log = logging.getLogger(__name__)


class TorchEngine:
    """A model in torch, in evaluation mode.

    Attributes:
        call: What answers packed tensors: the model, or a guard around it.
    """

    def __init__(self, model: AdaptiveForSequenceClassification, folder: Path, name: str) -> None:
        self.model = model
        self.call: Callable[..., AdaptiveOutput] = model
        tokenizer = read_tokenizer(folder, "take a whole copy of the model")
        self.encoder = TextEncoder(tokenizer.backend_tokenizer, templates_of(tokenizer), model.backbone.max_length)
        self.labels = [str(label) for _, label in sorted((model.config.id2label or {}).items())]
        self.multi_label, self.num_texts = model.config.multi_label, model.config.num_texts
        words = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()[:16]
        self.facts = {
            "engine": name,
            "model": model_fingerprint(model),
            "exit": model.config.exit,
            "tokenizer": words,
        }

    def answered_by(self, call: Callable[..., AdaptiveOutput]) -> TorchEngine:
        """Return the same with another call."""
        twin = copy.copy(self)
        twin.call = call
        return twin

    @torch.inference_mode()
    def run_encoded(self, batch: Sequence[Encoded]) -> OnnxOutput:
        """Answer what the encoder returned, as one packed batch."""
        device = next(self.model.parameters()).device

        def packed(values: Sequence[list[int]]) -> Tensor:
            return torch.tensor([token for one in values for token in one], device=device)

        types = packed([one.types for one in batch]) if self.model.backbone.num_types else None
        output = self.call(packed([one.ids for one in batch]), None, types, lengths=[len(one.ids) for one in batch])
        assert output.logits is not None and output.exit_depth is not None and output.tokens_kept is not None
        arrays = (output.logits.float(), output.exit_depth, output.tokens_kept)
        return OnnxOutput(*(tensor.cpu().numpy() for tensor in arrays))


def load_torch(folder: Path, settings: PredictSettings, changes: Mapping[str, Any]) -> TorchEngine:
    """Load a saved model with another exit's ``changes``; nothing in its folder is executed.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If it is damaged, of a newer version, or not for the engine.
    """
    name = settings.engine or "torch"
    if name not in SAVED:
        raise ValueError(
            f"model: expected an exported folder for engine={name}, {folder} is a saved model; "
            f"{_how_to_export(folder, name)}"
        )
    _check_config(folder)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    model = _as_the_run_has_it(folder, name)
    if model is None:
        with no_progress_bars():
            model = AdaptiveForSequenceClassification.from_pretrained(folder)
    if changes:
        certified = model.config.certificate is not None
        model.set_exit(**OperatingPoint.of(model.config.exit or {}).changed(changes).spec)
        if certified and model.config.certificate is None:
            log.warning("exit: the model's certificate is about another operating point than the one asked for")
    model = model.eval()
    if name != "torch" and (model.config.engine or {}).get("name") != name:
        model = model.quantize(name)
    anywhere = name == "torch" and model.config.engine is None  # other products are the CPU's
    device = "cpu" if settings.device == "auto" and not anywhere else settings.device
    torch.nn.Module.to(model, chosen_device(device))  # transformers' own `to` hides its types
    warn_of_threshold(model.config.certificate, settings)
    return TorchEngine(model, folder, name)


def _as_the_run_has_it(folder: Path, name: str) -> AdaptiveForSequenceClassification | None:
    """Return the int8 or bfloat16 model at the point that its run certified it for; None where no run keeps one.

    Raises:
        ValueError: If the run has certificates, and that of this engine no longer holds.
    """
    if name not in IN_TORCH or folder.name != "model" or not (folder.parent / "config.yaml").is_file():
        return None
    run, engine = FinishedRun(folder.parent, "model"), in_torch(IN_TORCH[name])
    state = run.engine_state(engine)
    return None if state is None else run.model_of(engine, certified=state.certificate is not None)[0]


def _check_config(folder: Path) -> None:
    """Refuse in a line what transformers would refuse in many, or load from elsewhere."""
    path = folder / "config.json"
    if (folder / "adapter_config.json").exists():  # which names modules and other models to load
        raise ValueError(f"model: {folder} is a PEFT adapter; merge it into its model and save that")
    config = read_object(path)
    if config.get("model_type") != AdaptiveConfig.model_type:
        raise ValueError(
            f"model: expected a model that eat saved, {path} is about one of type {shown(config.get('model_type'))}; "
            "`eat train retrofit=...` makes one of it"
        )
    try:
        AdaptiveConfig.from_dict(config).check()
    except ValueError as error:
        raise ValueError(f"model: {path} is no model's ({error}); take a whole copy of the model") from error
    if not any(folder.glob("model*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
        raise FileNotFoundError(f"model: {folder} has no model.safetensors; take a whole copy of the model")


def _how_to_export(folder: Path, name: str) -> str:
    """Say how to export a saved model."""
    if folder.name == "model" and (folder.parent / "config.yaml").is_file():
        return f"`eat export run={folder.parent} output=served format={name}` exports it"
    if name == "onnx_static":
        return "eat.deployment.export_onnx, with calibration=, exports it"
    return f"eat.deployment.export_onnx({str(folder)!r}, {str(folder)!r}, 'served', int8={name != 'onnx'}) exports it"
