"""The data of a training, from its configuration and again from its folder; other data are refused."""

import inspect
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from eat.data import TextDataModule
from eat.data.tokenizer import read_tokenizer
from eat.runs.environment import read_environment
from eat.runs.finished import FinishedRun
from eat.runs.saved import OF_DATA, need
from eat.tasks import Task, build_task
from eat.tasks.sources import local_root

log = logging.getLogger(__name__)

FILES = ("train", "validation", "test")
FOLDERS = ("root", "cache_dir")
PLACES = (*FOLDERS, *FILES)
"""What says where a run's own data lie now."""
FRESH = "fresh=true trains anew and sets that run aside, paths.runs= trains elsewhere; or give back the old data"
MOVED = "say where its own data lie, files by data.train=, data.validation= and data.test=, public data by data.root="


def describe_data(
    config: Mapping[str, Any], task: Task, tokenizer: PreTrainedTokenizerBase, **changes: Any
) -> TextDataModule:
    """Return the data that a configuration describes, with changes to the settings under ``data``; nothing is read."""
    known = inspect.signature(TextDataModule).parameters  # the other keys are the task's
    arguments = {key: value for key, value in config["data"].items() if key in known}
    arguments |= {"max_length": config["backbone"]["max_length"], "seed": config["seed"], **changes}
    return TextDataModule(task, tokenizer, **arguments)


def load_data(run: FinishedRun, places: Mapping[str, str | Path | None] | None = None) -> TextDataModule:
    """Set up the data that a run was trained on, with its own tokenizer.

    ``places`` say where they lie now, and replace what the run used: ``root``, ``cache_dir``, and the files ``train``,
    ``validation`` and ``test``.

    Raises:
        FileNotFoundError: If the tokenizer or the data are not there.
        ValueError: If the data are not those of the training.
    """
    if not run.has_weights:
        raise FileNotFoundError(f"run: {run.folder} has no model/, and the tokenizer is kept there")
    given = {key: value for key, value in (places or {}).items() if value is not None}
    files = {key: str(given.pop(key)) for key in FILES if key in given}
    need(run.config, OF_DATA, run.folder / "config.yaml")
    spec = run.config["task"]
    if files and spec["name"] != "file":
        raise ValueError(f"data.{next(iter(files))}: {run.folder} is of task {spec['name']}, which data.root= places")
    if spec["name"] == "file" and given.get("root") not in (None, run.config["data"].get("root")):
        raise ValueError(f"data.root: {run.folder} is of a file; say where it lies with data.train=")
    for file in (Path(spec[key]) for key in FILES if key not in files and isinstance(spec.get(key), str)):
        if Path(file.name).is_file() and file.is_file() and not file.samefile(file.name):
            log.info("%s is read, as the run was trained on it, and not the %s of the current folder", file, file.name)
    try:
        data = describe_data(run.config, build_task({**spec, **files}), _tokenizer(run), **given)
        check_same(run.folder, data, remedy=MOVED)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; {MOVED}" if spec["name"] == "file" else str(error)) from error
    data.setup()
    return data


def compare_local_data(run: FinishedRun) -> None:
    """Check the data of a run that is read from its traces, where they lie on this machine: nothing is fetched for it.

    Raises:
        ValueError: If they are no longer those that it was trained on.
    """
    if not run.has_weights:  # the tokenizer lies with them
        return
    need(run.config, OF_DATA, run.folder / "config.yaml")
    if run.config["task"]["name"] == "file" or local_root(run.config["data"].get("root")) is not None:
        check_data(run.folder, run.config, remedy=MOVED)


def check_data(folder: Path, config: Mapping[str, Any], remedy: str = FRESH) -> None:
    """Check that a finished run was trained on the data that a configuration names now.

    Data that are not there are said and not compared: a finished run is evaluated without them where it can be.

    Raises:
        ValueError: If they are other data.
    """
    run = FinishedRun(folder)
    try:
        check_same(folder, describe_data(config, build_task(config["task"]), _tokenizer(run)), remedy=remedy)
    except FileNotFoundError as error:
        log.warning("the data of %s are not compared with what is there now: %s", folder, error)


def check_same(folder: Path, data: TextDataModule, *, remedy: str) -> None:
    """Check that data are those of which a run noted the fingerprint, before anything of the run is overwritten.

    A run without a note, made before there was one, is warned of. ``remedy`` says what to do about other data.

    Raises:
        FileNotFoundError: If the data are not there.
        ValueError: If the data are others.
    """
    path = folder / "environment.json"
    noted = read_environment(path)
    data.load_splits()
    if not path.is_file():
        return
    if "data" not in noted:
        log.warning("%s noted no fingerprint of its data, so that other data would not be noticed", folder)
        return
    now, classes = data.fingerprint(), list(data.task.label_names)
    if noted["data"] != now:
        raise ValueError(
            f"data: {folder} was trained on other data than those that are read now (fingerprint {noted['data']}, now "
            f"{now}): {remedy}"
        )
    if noted.get("classes", classes) != classes:
        raise ValueError(f"data: {folder} was trained on classes {noted['classes']}, now they are {classes}: {remedy}")


def _tokenizer(run: FinishedRun) -> PreTrainedTokenizerBase:
    return read_tokenizer(run.folder / "model", "train again, or put back the files that training wrote")
