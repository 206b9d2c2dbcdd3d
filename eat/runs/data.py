"""The data that a run was trained on, set up again from its folder."""

import inspect
from pathlib import Path

from transformers import AutoTokenizer

from eat.data import TextDataModule
from eat.runs.finished import FinishedRun
from eat.tasks import build_task


def load_data(run: FinishedRun, root: str | Path | None = None) -> TextDataModule:
    """Set up the data that a run was trained on, with its own tokenizer.

    Args:
        run: The run; its weights folder holds the tokenizer.
        root: Folder of local data sets, instead of the one that the run used.

    Raises:
        FileNotFoundError: If the tokenizer or the data are not there.
    """
    if not run.has_weights:
        raise FileNotFoundError(f"run: {run.folder} has no model/, and the tokenizer is kept there")
    known = inspect.signature(TextDataModule).parameters
    arguments = {key: value for key, value in run.config["data"].items() if key in known}
    arguments |= {"max_length": run.config["backbone"]["max_length"], "seed": run.config["seed"]}
    arguments |= {"root": root} if root is not None else {}
    tokenizer = AutoTokenizer.from_pretrained(run.folder / "model")
    data = TextDataModule(build_task(run.config["task"]), tokenizer, **arguments)
    data.setup()
    return data
