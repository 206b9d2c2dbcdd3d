"""Run folders: where a training's files go, whether it is finished, and that nobody else writes there."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from eat.files import write_text

log = logging.getLogger(__name__)

# What is about this session on this machine, and no part of what a run is.
SESSION = ("paths", "resume", "fresh", "evaluation")

# What may change without making it another training: dotted paths, each with everything below it.
NOT_TRAINING = (
    *SESSION,
    "benchmark",  # typed as benchmark@evaluation.benchmark=paper, composed below `evaluation`
    "exit",
    "logger",
    "experiment",
    "data.root",
    "data.cache_dir",
    "data.num_workers",
    "data.eval_batch_size",
    "callbacks.checkpoints",
    "callbacks.progress",
    "trainer.log_every_n_steps",
    "trainer.threads",
)


def fingerprint(config: Mapping[str, Any]) -> str:
    """Return 8 hex digits that name a training: the same for the same resolved training configuration.

    Args:
        config: The resolved configuration; what does not change the trained weights is left out (``NOT_TRAINING``).
    """
    kept = _without(config, (*NOT_TRAINING, "retrofit"))  # whose value is counted as `backbone.classifier`
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]


def run_name(config: Mapping[str, Any]) -> str:
    """Return a run's folder name: what a reader wants to know first, then the fingerprint of everything.

    Args:
        config: The resolved configuration.
    """
    attention, pruner = config["attention"], config["pruner"]
    parts = [
        config["backbone"]["name"],
        f"{attention['name']}{attention.get('window', '')}",
        "unpruned" if pruner["name"] == "none" else pruner["name"],
        *_unusual_heads(config),
        config["budget"]["name"],
        f"seed{config['seed']}",
        fingerprint(config),
    ]
    return "-".join(parts)


def training_overrides(overrides: Sequence[str]) -> list[str]:
    """Return those command-line overrides that would make it another training.

    Args:
        overrides: As typed: ``optimizer.lr=1e-4``, ``+exit.threshold=0.8``, ``task=rte``.
    """
    return [override for override in overrides if not _is_below(override_key(override), NOT_TRAINING)]


def override_key(override: str) -> str:
    """Return the dotted key, or the group, that an override is about."""
    return override.lstrip("+~").partition("=")[0].partition("@")[0].replace("/", ".")


class RunFolder:
    """One training's folder.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def config(self) -> Path:
        """The resolved configuration it was started with."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """Folder of the trained model and its tokenizer; there once the training is finished."""
        return self.path / "model"

    def save_config(self, config: Mapping[str, Any]) -> None:
        """Write the configuration, unless the run has one; without what concerns this session alone."""
        if not self.config.is_file():
            kept = {key: value for key, value in config.items() if key not in SESSION}
            write_text(self.config, yaml.safe_dump(kept, sort_keys=False, allow_unicode=True))

    @property
    def is_finished(self) -> bool:
        """True when the trained model is there; it appears whole, in one step."""
        return (self.model / "config.json").is_file()

    def set_aside(self) -> Path | None:
        """Move what is there to ``<name>.old-<n>``, so that a new start loses nothing; return where it went."""
        if not self.path.exists():
            return None
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.old-{number}")).exists():
            number += 1
        return self.path.rename(aside)

    def save_model(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Write model and tokenizer; the folder appears under its name only when it is whole."""
        partial = self.path / "model.partial"
        shutil.rmtree(partial, ignore_errors=True)  # of an earlier process that was killed here
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        for file in partial.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        partial.rename(self.model)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; the system lets go when the process ends, however it ends.

        Raises:
            RuntimeError: If another process trains here.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            import fcntl
        except ImportError:  # Windows: nothing guards two trainings against each other there
            yield
            return
        descriptor = os.open(self.path, os.O_RDONLY)  # the folder is its own lock: no file is left behind
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RuntimeError(f"another process is training in {self.path}; wait for it or stop it") from error
            yield
        finally:
            os.close(descriptor)


def choose_run(config: Mapping[str, Any]) -> RunFolder:
    """Return the folder of a training, and say what is there; with ``fresh`` what is there is set aside.

    Args:
        config: The resolved configuration: ``resume`` names the folder, else the configuration does.
    """
    path = config["resume"] or Path(config["paths"]["runs"]) / config["task"]["name"] / run_name(config)
    run = RunFolder(path)
    if config["fresh"] and (aside := run.set_aside()):
        log.info("%s is set aside as %s", run.path, aside.name)
    if run.is_finished:
        log.info("%s is trained already and is only evaluated; fresh=true trains it anew", run.path)
    elif run.config.is_file():
        log.info("%s was not finished; continuing it", run.path)
    else:
        log.info("training in %s", run.path)
    return run


def continued_config(config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return the saved configuration of the run that ``resume`` names, with what may change as it was typed.

    Args:
        config: The configuration as composed from the command line.
        overrides: What was typed.

    Raises:
        FileNotFoundError: If the folder has no configuration.
        ValueError: If something was typed that would make it another training.
    """
    run = RunFolder(config["resume"])
    if not run.config.is_file():
        raise FileNotFoundError(f"resume: expected a run folder with config.yaml, got {run.path}, which has none")
    refused = training_overrides(overrides)
    if refused:
        raise ValueError(
            f"resume continues {run.path} as it was configured, so {' '.join(refused)} cannot change; leave it out, or "
            "leave resume out to start another run"
        )
    saved: dict[str, Any] = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    typed = {override_key(override).partition(".")[0] for override in overrides}
    session = {key: config[key] for key in SESSION}
    return saved | session | {key: config[key] for key in ("exit", "logger") if key in typed}


def _unusual_heads(config: Mapping[str, Any]) -> list[str]:
    """Return how heads learn and what they read, but for the joint objective and the backbone's own pooling."""
    objective, pooling = config["objective"], config["head_pooling"]
    parts = [objective["name"]] if objective["name"] != "joint" else []
    parts += ["self_distill"] if objective.get("self_weight") else []
    parts += ["distill"] if objective.get("teacher") else []
    return parts + ([pooling] if pooling != config["backbone"]["head_pooling"] else [])


def _without(config: Mapping[str, Any], paths: Sequence[str], prefix: str = "") -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        if not _is_below(path, paths):
            kept[str(key)] = _without(value, paths, f"{path}.") if isinstance(value, Mapping) else value
    return kept


def _is_below(path: str, paths: Sequence[str]) -> bool:
    return any(path == other or path.startswith(f"{other}.") for other in paths)
