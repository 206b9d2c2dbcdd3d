"""The data of a training, set up from its configuration, and again from its folder."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from eat.data import TextDataModule
from eat.data.tokenizer import read_tokenizer
from eat.runs.finished import FinishedRun
from eat.tasks import Task, build_task


def set_up_data(
    config: Mapping[str, Any], task: Task, tokenizer: PreTrainedTokenizerBase, **changes: Any
) -> TextDataModule:
    """Set up the data that a configuration describes, with changes to the settings under ``data``."""
    known = inspect.signature(TextDataModule).parameters  # the other keys are the task's
    arguments = {key: value for key, value in config["data"].items() if key in known}
    arguments |= {"max_length": config["backbone"]["max_length"], "seed": config["seed"], **changes}
    data = TextDataModule(task, tokenizer, **arguments)
    data.setup()
    return data


def load_data(run: FinishedRun, root: str | Path | None = None) -> TextDataModule:
    """Set up the data that a run was trained on, with its own tokenizer; ``root`` replaces the folder that it used.

    Raises:
        FileNotFoundError: If the tokenizer or the data are not there.
    """
    if not run.has_weights:
        raise FileNotFoundError(f"run: {run.folder} has no model/, and the tokenizer is kept there")
    tokenizer = read_tokenizer(run.folder / "model", "train again, or put back the files that training wrote")
    changes = {} if root is None else {"root": root}
    return set_up_data(run.config, build_task(run.config["task"]), tokenizer, **changes)
