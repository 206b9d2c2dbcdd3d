"""A training's run folder: what lies where, whether it is finished, and a lock against a second training there."""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from eat.files import replacing_folder, write_text
from eat.runs.naming import SESSION, override_key, run_name, training_overrides

log = logging.getLogger(__name__)


class RunFolder:
    """One training's folder; it need not exist."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"  # the resolved configuration it was started with
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"  # the trained model and its tokenizer, once the training is finished

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
        with replacing_folder(self.model, last="config.json") as partial:
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)

    @contextmanager
    def kept_once_started(self) -> Iterator[None]:
        """Remove the folder again where a training fails before its configuration is written: nothing to continue."""
        existed = self.path.exists()
        try:
            yield
        except BaseException:
            if not existed and not self.config.is_file():
                shutil.rmtree(self.path, ignore_errors=True)
            raise

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; the system lets go when the process ends, however it ends.

        Raises:
            RuntimeError: If another process trains here.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock", blocking=False)
        try:
            lock.acquire()
        except Timeout as error:
            raise RuntimeError(f"another process is training in {self.path}; wait for it or stop it") from error
        try:
            yield
        finally:
            if os.name == "posix":  # still held: whoever opened it meanwhile sees that it is gone; Windows removes it
                Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()


def choose_run(config: Mapping[str, Any]) -> RunFolder:
    """Return the folder of a training, and say what is there; with ``fresh`` what is there is set aside.

    ``resume`` names the folder, else the configuration does.
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
