"""Where the configuration lies, its values as plain Python, and a quiet screen."""

import inspect
import logging
import warnings
from pathlib import Path
from typing import Any, cast

import hydra
from datasets import are_progress_bars_disabled, disable_progress_bars
from omegaconf import DictConfig, OmegaConf
from transformers.utils import logging as transformers_logging

from eat.training.distributed import process_number

_PACKAGE = Path(__file__).parents[1]
CONF = str(next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir()))
"""Within the package where it is installed, beside it in a checkout."""

_LISTED = "execution_whitelist" in inspect.signature(hydra.main).parameters  # Hydra 1.4 and newer
HYDRA: dict[str, Any] = {"config_path": CONF} | (
    {"execution_whitelist": ["eat.cli.multirun.CombinedReport", "hydra._internal.*"]}
    if _LISTED
    else {"version_base": "1.3"}
)
"""What every command's ``hydra.main`` is given; Hydra itself may build what combines reports, and its own parts."""


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a part of the configuration as plain values, interpolations resolved and nothing missing."""
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))


def keep_quiet() -> None:
    """Leave the screen to what a command has to say: no tips, no bars for files, no advice that does not apply.

    Of several processes the first alone speaks, unless another meets an error.
    """
    if process_number() > 0:
        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")
    for part in ("pytorch", "fabric"):
        logging.getLogger(f"lightning.{part}").setLevel(logging.WARNING)
    transformers_logging.disable_progress_bar()
    if not are_progress_bars_disabled():  # of reading a file; a download's are huggingface_hub's
        disable_progress_bars()
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")  # within Lightning
    warnings.filterwarnings("ignore", message="The number of training batches .* is smaller than the logging interval")
    warnings.filterwarnings("ignore", message="It is recommended to use `self.log")  # metrics are those of all already
    warnings.filterwarnings("ignore", message="Metric `SpearmanCorrcoef` will save all targets")  # ranks need all
    warnings.filterwarnings("ignore", message="The '.*_dataloader' does not have many workers")  # packing is cheap
