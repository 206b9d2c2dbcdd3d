"""What commands that serve finished runs side by side are asked: candidates by name, a folder, settings."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from eat.checks import folder_name
from eat.cli.compose import plain
from eat.cli.options import check_keys, need
from eat.cli.settings import defaults
from eat.runs.data import PLACES

NEEDED = {"candidates": "finished runs by name, as {dense: runs/sst2/...}", "output": "a folder"}


def read_options(config: DictConfig, settings: type, *more: str) -> tuple[Any, Path, dict[str, Any], dict[str, Any]]:
    """Return candidates, output folder, places of data, and what is left: the settings' keys, and ``more``.

    Raises:
        ValueError: If a key is missing or unknown.
    """
    for key, expected in NEEDED.items():
        need(config, key, expected, "")
    options = plain(config)
    check_keys("", options, [*NEEDED, *more, "data", *defaults(settings)])
    candidates, output, places = (options.pop(key) for key in (*NEEDED, "data"))
    check_keys("data.", places, PLACES)
    return candidates, Path(folder_name("output", output)), places, options
