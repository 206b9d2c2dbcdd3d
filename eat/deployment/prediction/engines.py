"""What answers texts: an exported folder in ONNX Runtime, without torch, or a saved model in torch."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from eat.checks import folder_name, shown
from eat.deployment import manifest as manifests
from eat.deployment.encoding import Encoded, TextEncoder
from eat.deployment.prediction.settings import PredictSettings
from eat.deployment.runner import OnnxClassifier, OnnxOutput
from eat.machine import num_cores

log = logging.getLogger(__name__)


@runtime_checkable
class Engine(Protocol):
    """A classifier that is ready to answer."""

    @property
    def labels(self) -> list[str]:
        """Names of the classes; one where the answer is a number."""

    @property
    def multi_label(self) -> bool:
        """Whether each class is a label of its own, of which a text has any number."""

    @property
    def num_texts(self) -> int | None:
        """Of how many texts an input is made, 1 or 2; None where the model does not say."""

    @property
    def encoder(self) -> TextEncoder:
        """What turns texts into token ids."""

    @property
    def facts(self) -> dict[str, Any]:
        """What answers follow from, by the setting that chooses it: other facts, other answers."""

    def run_encoded(self, batch: Sequence[Encoded]) -> OnnxOutput:
        """Answer what the encoder returned."""


class OnnxEngine:
    """An exported folder in ONNX Runtime."""

    def __init__(self, served: OnnxClassifier, name: str) -> None:
        self.encoder, self.labels, self.run_encoded = served.encoder, served.manifest.labels, served.run_encoded
        self.multi_label, self.num_texts = served.manifest.multi_label, served.manifest.num_texts
        words = hashlib.sha256(served.manifest.text().encode()).hexdigest()[:16]
        self.facts = {"engine": name, "model": words, "exit": served.manifest.exit}


def model_folder(folder: str | Path) -> Path:
    """Return the folder that holds the model of a run's folder, a saved model's or an exported one.

    Raises:
        FileNotFoundError: If it is none of them.
    """
    folder = Path(folder_name("model", folder))
    if not folder.is_dir():
        raise FileNotFoundError(f"model: no folder {folder}")
    if (folder / "model" / "config.json").is_file():  # a run's
        return folder / "model"
    if (folder / "config.yaml").is_file():
        raise FileNotFoundError(f"model: {folder} is a run without model/, which a finished training leaves there")
    if not any((folder / name).is_file() for name in (manifests.FILE, "config.json")):
        raise FileNotFoundError(
            f"model: expected a run's folder, a saved model's (config.json) or an exported one ({manifests.FILE}), "
            f"{folder} is none"
        )
    return folder


def load_engine(folder: str | Path, settings: PredictSettings) -> Engine:
    """Load a run's folder, a saved model's or an exported one; nothing in it is executed.

    A certified model answers at its certified point unless another exit is asked for.

    Raises:
        FileNotFoundError: If the folder, or a file in it, is missing.
        ImportError: If what the engine needs is not installed.
        ValueError: If the folder is neither, damaged, of a newer version, or not for this engine.
    """
    folder = model_folder(folder)
    changes = {key: value for key, value in (settings.exit or {}).items() if value is not None}
    if (folder / manifests.FILE).is_file():
        return _load_onnx(folder, settings, changes)
    from eat.deployment.prediction.torch_engine import load_torch

    return load_torch(folder, settings, changes)


def _load_onnx(folder: Path, settings: PredictSettings, changes: Mapping[str, Any]) -> OnnxEngine:
    if settings.device not in ("auto", "cpu"):
        raise ValueError(f"device: expected auto or cpu, where {folder} is answered, got {shown(settings.device)}")
    if settings.guard:
        raise ValueError(f"guard: expected a saved model, which a certificate is watched with; {folder} is an export")
    name = manifests.read_manifest(folder).engine.removeprefix("eat_")
    if settings.engine not in (None, name):
        raise ValueError(f"engine: expected {name}, as {folder} was exported, got {settings.engine}")
    served = OnnxClassifier.from_folder(folder, threads=settings.threads or num_cores())
    if changes:
        from eat.exits.points import OperatingPoint  # another point's arguments are checked where exits are, in torch

        served = served.changed(exit=OperatingPoint.of(served.manifest.exit).changed(changes).spec)
    warn_of_threshold(served.manifest.certificate, settings)
    return OnnxEngine(served, name)


def warn_of_threshold(certificate: Mapping[str, Any] | None, settings: PredictSettings) -> None:
    """Warn where a certified model's labels are written from another probability on than those that were certified."""
    if certificate is not None and settings.label_threshold != 0.5:
        log.warning(
            "label_threshold: the model's certificate is about labels above 0.5, and says nothing of those above %g",
            settings.label_threshold,
        )
