"""What a campaign's process needs before anything else is imported: no network, one thread, a quiet screen."""

import json
import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

_FOLDERS: list[Any] = []


def prepare() -> None:
    """Set the environment that torch and Hugging Face read once, at import."""
    if "HF_HOME" not in os.environ or not _FOLDERS:
        _FOLDERS.append(tempfile.TemporaryDirectory(prefix="eat-reliability-"))
        os.environ.setdefault("HF_HOME", _FOLDERS[0].name)
    wanted = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    wanted |= {"TRANSFORMERS_VERBOSITY": "error"}  # which it sets itself when it is imported
    wanted |= {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "WANDB_MODE": "offline"}
    wanted |= {"JE_ARROW_MALLOC_CONF": "background_thread:false"}  # no process with a second thread may fork
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    logging.getLogger("eat").setLevel(logging.ERROR)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


def read_summaries(files: str) -> list[dict[str, Any]]:
    """Read summaries whose files are named with commas between them."""
    return [json.loads(Path(file).read_text(encoding="utf-8")) for file in files.split(",")]
