"""A finished run's folder: what is there, what is missing, and what to do about it."""

import functools
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from eat.checks import folder_name, one_of, shown
from eat.exits.points import OperatingPoint
from eat.files import read_object
from eat.machine import chosen_device
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.config import AdaptiveConfig
from eat.models.engines import OWN, EngineId, in_torch, numbers_of
from eat.models.fingerprint import raw_facts
from eat.models.granted import EAT, IN_TORCH, check_intact, encode, engine_of
from eat.runs.engines import FOLDER as ENGINES_FOLDER
from eat.runs.engines import EngineState, read_state, state_path
from eat.runs.environment import read_environment
from eat.runs.naming import holdout_name
from eat.runs.saved import check_links, need, read_config

log = logging.getLogger(__name__)

MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json")


class FinishedRun:
    """A run folder to evaluate: ``config.yaml`` and ``model/``, or ``trace/`` alone where weights were not kept.

    ``argument`` is what messages call it.

    Raises:
        FileNotFoundError: If the folder is missing, or lacks what an evaluation needs; the message says how to go on.
        ValueError: If its configuration is not whole or not plain, or a link leads out of it.
    """

    def __init__(self, folder: str | Path, argument: str = "run") -> None:
        self.folder = Path(folder_name(argument, folder))
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{argument}: no folder {self.folder}; {runs_beside(self.folder)}")
        if not (self.folder / "config.yaml").is_file():
            raise FileNotFoundError(
                f"{argument}: {self.folder} has no config.yaml, so it is no run folder; "
                f"{runs_beside(self.folder / 'x')}"
            )
        check_links(self.folder, argument)
        self.config: dict[str, Any] = read_config(self.folder, argument)
        if (self.folder / "model" / "adapter_config.json").exists():  # which names modules and other models to load
            raise ValueError(
                f"{argument}: {self.folder}/model is a PEFT adapter; merge it into its model and save that"
            )
        missing = [name for name in MODEL_FILES if not (self.folder / "model" / name).is_file()]
        self.has_weights = not missing
        if missing and (self.folder / "model").is_dir():
            raise FileNotFoundError(
                f"{argument}: {self.folder}/model is half written, {' and '.join(missing)} missing; remove that folder "
                f"and finish the training with `python train.py resume={self.folder}`"
            )
        if missing and not list((self.folder / "trace").glob("*.parquet")):
            raise FileNotFoundError(
                f"{argument}: {self.folder} has neither model/ nor trace/: the training is not finished"
                f"{_progress(self.folder / 'checkpoints')}; finish it with `python train.py resume={self.folder}`"
            )

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.resolve().name

    @property
    def holdout(self) -> str:
        """What was held out of training, by name; see `holdout_name`."""
        return holdout_name(self.config)

    @property
    def exit(self) -> OperatingPoint:
        """The operating point that the run was configured with."""
        need(self.config, ("exit",), self.folder / "config.yaml")
        return OperatingPoint.of(self.config["exit"])

    def load_model(
        self, device: str, *, certified: bool = True, engine: str = EAT
    ) -> AdaptiveForSequenceClassification:
        """Load the trained model, in evaluation mode; a certified one runs at its certified operating point.

        Args:
            device: A torch device, or "auto" for the first GPU where there is one.
            certified: Whether the model keeps its certificate and its sufficient rules; without them, measure at
                operating points of your choice.
            engine: "eat", or "eat_int8" or "eat_bf16" for such weights on a CPU, with temperatures and certificate of
                that engine.

        Raises:
            FileNotFoundError: If the weights are not there.
            ValueError: If its configuration or its weights are damaged, there is no such engine in torch, or the run is
                certified, but not with this engine.
        """
        if one_of("engine", engine, (EAT, *IN_TORCH.values())) != EAT:
            if device not in ("auto", "cpu"):
                raise ValueError(f"device: expected cpu with the engine {engine}, got {shown(device)}")
            return self.model_of(in_torch(engine), certified=certified)[0]
        if not self.has_weights:
            raise FileNotFoundError(
                f"run: {self.folder} has no model/ (results are kept without weights): quality and sweep are rebuilt "
                "from trace/, but new traces and the benchmark need weights; train again, or use stages=[quality,sweep]"
            )
        self.model_config()  # refuses a damaged one in a line
        left_out: dict[str, Any] = {} if certified else {"certificate": None, "rules": None}
        with no_progress_bars():
            model = AdaptiveForSequenceClassification.from_pretrained(self.folder / "model", **left_out)
        torch.nn.Module.to(model, chosen_device(device))  # transformers' own `to` hides its types
        return model.eval()

    def model_of(
        self, engine: EngineId, *, certified: bool = True
    ) -> tuple[AdaptiveForSequenceClassification, dict[str, Any] | None]:
        """Load the model that an engine other than eat's own runs or exports, and its certificate.

        Its heads have the temperatures of that engine; with a certificate it runs at the certified point. For
        ``eat_int8`` and ``eat_bf16`` it has such weights and carries the certificate itself; else it is float32.

        Raises:
            FileNotFoundError: If the weights are not there.
            ValueError: If a file is damaged; with ``certified``, if there are certificates, and none holds for this
                engine.
        """
        model, state = self.load_model("cpu", certified=False), self.engine_state(engine)
        if state is not None:
            model.set_temperatures(state.divisors)
        numbers = numbers_of(engine.name)
        if numbers is not None:
            model = model.quantize(numbers, anyway=True)
        certificate = self.certificate_of(engine, model) if certified else None
        if certificate is not None:
            model.set_exit(**certificate["exit"])
            model.config.certificate = certificate if numbers is not None else None
        elif certified:
            self._refuse_other_certificates(engine)
        return model, certificate

    def certificate_of(self, engine: EngineId, model: AdaptiveForSequenceClassification) -> dict[str, Any] | None:
        """Return the certificate of an engine that holds for the model which it runs; else None, with a warning.

        Raises:
            ValueError: If it was edited.
        """
        state = self.engine_state(engine)
        if state is None or state.certificate is None:
            return None
        certificate = dict(state.certificate)
        check_intact(certificate, str(state_path(self.folder, engine)), digest_expected=True)
        if certificate["model"] == engine.model_fingerprint(model):
            return certificate
        log.warning("the certificate of %s no longer holds: the model's configuration is another", engine.label)
        return None

    def _refuse_other_certificates(self, engine: EngineId) -> None:
        """Refuse an engine where certificates were made, and none holds for it.

        Raises:
            ValueError: With the command that certifies this engine.
        """
        kept = read_state(self.folder, engine)
        former = None if kept is None else kept.certificate
        names = sorted(path.stem for path in (self.folder / ENGINES_FOLDER).glob("*.json"))
        others = [state.certificate for name in names if (state := read_state(self.folder, EngineId(name)))]
        granted = next(filter(None, [former, self.model_config().get("certificate"), *others]), None)
        if granted is not None:
            why = "which no longer holds" if former else f"which says nothing of {engine.label}"
            raise ValueError(
                f"engine: {self.folder} has a certificate of {engine_of(granted)}, {why}; certify {engine.name} with "
                f"`python evaluate.py run={self.folder} engine={engine.name} stages=[certify] "
                f"certify.max_drop={granted.get('bound')}`, or do without (certified=false)"
            )

    def engine_state(self, engine: EngineId) -> EngineState | None:
        """Return what the run keeps of an engine; None where it keeps nothing that is about its present weights.

        Raises:
            ValueError: If the file is damaged.
        """
        state = None if engine.is_eat else read_state(self.folder, engine)
        if state is not None and self.has_weights and state.fingerprint != self.raw_fingerprint(engine):
            log.warning("%s is about other weights or other bits and is left out", state_path(self.folder, engine))
            return None
        return state

    def temperatures(self, engine: EngineId = OWN) -> Sequence[float] | None:
        """Return what divides the logits of each head as an engine runs the saved model; None where nothing does."""
        state = self.engine_state(engine)
        if state is not None:
            return state.divisors
        found: Sequence[float] | None = self.model_config()["heads"].get("temperatures")
        return found

    def model_config(self) -> dict[str, Any]:
        """Return the saved model's configuration, checked.

        Raises:
            FileNotFoundError: If the weights are not there.
            ValueError: If it is no configuration of a model of ours.
        """
        path = self.folder / "model" / "config.json"
        config = read_object(path)
        try:
            AdaptiveConfig.from_dict(dict(config)).check()
        except ValueError as error:
            raise ValueError(f"run: {path} is no model's ({error}); take a whole copy of the model") from error
        return config

    def fingerprint(self, engine: EngineId = OWN) -> str:
        """Name weights, configuration and engine, the exit left out: what was measured on the same name still holds."""
        return with_temperatures(self.raw_fingerprint(engine), self.temperatures(engine))

    def raw_fingerprint(self, engine: EngineId = OWN) -> str:
        """Name what raw logits follow from: traces on disk with the same name need not be made again."""
        digest = hashlib.sha256(encode(raw_facts(self.model_config())))
        digest.update(self.weights_digest())
        return engine.fingerprint(digest.hexdigest()[:16])

    def weights_digest(self) -> bytes:
        """Return the SHA-256 of the weights' file; it is read once for all that ask, unless it changes."""
        path = self.folder / "model" / "model.safetensors"
        state = path.stat()
        return _file_digest(path.resolve(), state.st_size, state.st_mtime_ns)

    def environment(self) -> dict[str, Any]:
        """Return what the run noted about its machine, commit and seed; empty where it noted nothing."""
        return read_environment(self.folder / "environment.json")


@functools.lru_cache(maxsize=64)
def _file_digest(path: Path, size: int, changed_ns: int) -> bytes:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").digest()


def with_temperatures(raw_fingerprint: str, temperatures: Sequence[float] | None) -> str:
    """Name the model that divides logits by temperatures; without any it has the name of its raw logits."""
    if temperatures is None:
        return raw_fingerprint
    return hashlib.sha256(json.dumps([raw_fingerprint, *temperatures]).encode()).hexdigest()[:16]


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Hide transformers' progress bars: one file is read or written in a moment."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def runs_beside(folder: Path) -> str:
    """Name a few finished runs beside a folder, or say how to make one."""
    found = (path.parent for depth in ("*", "*/*", "*/*/*") for path in folder.parent.glob(f"{depth}/config.yaml"))
    runs = sorted(str(run) for run in found if _is_offered(run))[:5]
    return f"runs near it: {', '.join(runs)}" if runs else "`python train.py task=...` makes one and prints its name"


def _is_offered(run: Path) -> bool:
    """Return True for a finished run, with weights or traces, that is not hidden or set aside."""
    shown = not any(part.startswith(".") for part in run.parts) and ".old-" not in run.name
    return shown and ((run / "model" / "config.json").is_file() or any((run / "trace").glob("*.parquet")))


def _progress(checkpoints: Path) -> str:
    names = sorted(path.name for path in checkpoints.glob("*.ckpt"))
    return f" (checkpoints: {', '.join(names)})" if names else " and there is no checkpoint"
