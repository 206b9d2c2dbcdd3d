"""Run folders: where a training's files go, whether it is finished, and that nobody else writes there."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

# What may change without making it another training: dotted paths, each with everything below it.
NOT_TRAINING = (
    "exit",
    "evaluation",
    "logger",
    "paths",
    "experiment",
    "resume",
    "fresh",
    "data.root",
    "data.cache_dir",
    "data.num_workers",
    "data.eval_batch_size",
    "callbacks.checkpoints",
    "callbacks.progress",
    "trainer.log_every_n_steps",
)


def fingerprint(config: Mapping[str, Any]) -> str:
    """Return 8 hex digits that name a training: the same for the same resolved training configuration.

    Args:
        config: The resolved configuration; what does not change the trained weights is left out (``NOT_TRAINING``).
    """
    kept = _without(config, NOT_TRAINING)
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
        with (self.path / ".lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RuntimeError(f"another process is training in {self.path}; wait for it or stop it") from error
            yield


def _without(config: Mapping[str, Any], paths: Sequence[str], prefix: str = "") -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        if not _is_below(path, paths):
            kept[str(key)] = _without(value, paths, f"{path}.") if isinstance(value, Mapping) else value
    return kept


def _is_below(path: str, paths: Sequence[str]) -> bool:
    return any(path == other or path.startswith(f"{other}.") for other in paths)
