"""A training's run folder: what lies where, whether it is finished, and which one a training belongs to."""

import copy
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from eat.checks import folder_name
from eat.files import replacing_folder, write_text
from eat.runs.lock import locked
from eat.runs.naming import BEFORE_HOLDOUTS, SESSION, override_key, run_name, training_overrides, typed_places
from eat.runs.saved import check_links, need, read_config, text_of
from eat.runs.targets import check_targets

log = logging.getLogger(__name__)

NEWER = {
    "experiment": None,
    "retrofit": None,
    "holdout": BEFORE_HOLDOUTS,
    "best": {"metric": None},
    "compression": {"name": "none"},
}
"""Keys that an older run's configuration may lack, as they were meant then."""


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
            write_text(self.config, text_of(config))

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
        """Write model and tokenizer, which cuts where the model ends; the folder appears only when it is whole."""
        tokenizer.model_max_length = model.config.backbone["max_length"]
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

    def locked(self, *, wait: bool = False) -> AbstractContextManager[None]:
        """Hold the folder for this process, which trains; see `eat.runs.lock.locked`."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return locked(self.path, wait=wait, needed=True)


def choose_run(config: Mapping[str, Any]) -> RunFolder:
    """Return the folder of a training: ``resume`` names it, else the configuration does.

    Raises:
        ValueError: If ``resume`` or ``paths.runs`` is empty.
    """
    if config["resume"] is not None:
        return RunFolder(folder_name("resume", config["resume"]))
    runs = folder_name("paths.runs", config["paths"]["runs"])
    return RunFolder(Path(runs) / config["task"]["name"] / run_name(config))


def begin(run: RunFolder, *, fresh: bool) -> None:
    """Say what is in a folder that this process holds; with ``fresh`` what is there is set aside."""
    if fresh and (aside := run.set_aside()):
        log.info("%s is set aside as %s", run.path, aside.name)
    if not run.is_finished:
        log.info("%s was not finished; continuing it" if run.config.is_file() else "training in %s", run.path)


def continued_config(config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return the saved configuration of the run that ``resume`` names, with what may change as it was typed.

    Raises:
        FileNotFoundError: If the folder has no configuration.
        ValueError: If something was typed that would make it another training, or the configuration is not whole, or
            names what ``conf/`` does not offer.
    """
    run = RunFolder(folder_name("resume", config["resume"]))
    if not run.config.is_file():
        raise FileNotFoundError(f"resume: expected a run folder with config.yaml, got {run.path}, which has none")
    typed = {override_key(override): override.partition("=")[2] for override in overrides}
    targets = {key.removesuffix("._target_"): value for key, value in typed.items() if key.endswith("._target_")}
    changes = training_overrides(overrides)
    _refuse(run, [override for override in changes if not override_key(override).endswith("._target_")])
    check_links(run.path, "resume")
    saved = read_config(run.path, "resume")
    need(saved, [key for key in config if key not in (*NEWER, *SESSION)], run.config, "resume")
    _refuse(run, [f"{key}._target_={value}" for key, value in targets.items() if value != _target_of(saved, key)])
    check_targets(saved, run.config, targets)
    return _with_typed(NEWER | saved, config, overrides)


def _refuse(run: RunFolder, overrides: Sequence[str]) -> None:
    if overrides:
        raise ValueError(
            f"resume continues {run.path} as it was configured, so {' '.join(overrides)} cannot change; leave it out, "
            "or leave resume out to start another run"
        )


def _target_of(saved: Mapping[str, Any], place: str) -> Any:
    value: Any = saved
    for key in (*place.split("."), "_target_"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _with_typed(saved: dict[str, Any], config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a saved configuration with what is about this session, and the typed parts that train nothing."""
    result = copy.deepcopy(saved)
    for place in (*SESSION, *typed_places(overrides)):
        *sections, key = place.split(".")
        source: Any = config
        target: Any = result
        for section in sections:
            source, target = source[section], target.setdefault(section, {})
        target.pop(key, None)
        if key in source:
            target[key] = source[key]
    return result
