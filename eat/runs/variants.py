"""The same weights with other pruning, as a run folder of its own: one trace for each pruning schedule."""

import filecmp
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from eat.files import replacing, write_text
from eat.models.config import AdaptiveConfig
from eat.runs.finished import FinishedRun
from eat.runs.lock import locked
from eat.runs.outcome import FILE as OUTCOME

WEIGHTS = "model.safetensors"
MADE_WITH = ("environment.json", "metrics.csv", OUTCOME)
"""What a variant shares with the run whose weights it has: how they were trained."""


def with_pruner(run: FinishedRun, changes: Mapping[str, Any]) -> FinishedRun:
    """Return the same weights with other pruning: a run folder beside the run's, named after what differs.

    ``changes`` replace the pruner's own arguments, or are another ``name`` with its arguments; where nothing differs,
    the run itself is returned. A variant is a run like any other: it can be calibrated and certified. One that is there
    already is brought up to date where the run's weights have changed, and then begins anew, without its certificate.
    The weights are linked where the file system can, and copied elsewhere.

    Raises:
        FileNotFoundError: If the weights are not there.
        ValueError: If there is no such pruner, or an argument is out of range.
    """
    if not run.has_weights:
        raise FileNotFoundError(
            f"pruner: {run.folder} has no model/, and other pruning needs new traces; train again, or leave it out"
        )
    config = run.model_config()
    own = config["pruner"]
    spec = {**own, **changes} if changes.get("name", own["name"]) == own["name"] else dict(changes)
    config = config | {"pruner": spec, "certificate": None, "exit": run.exit.spec}
    AdaptiveConfig.from_dict(config).check()
    if spec == own:
        return run
    differing = {key: value for key, value in spec.items() if value != own.get(key) and key != "name"}
    names = [spec["name"]] if spec["name"] != own["name"] else []
    label = "-".join([*names, *(f"{key}{_text(value)}" for key, value in differing.items())])
    folder = run.folder.resolve().with_name(f"{run.name}-{label}")
    with locked(folder, wait=True):
        if not _is_made(run.folder / "model", folder / "model"):
            _make(run, folder, spec, config)
    return FinishedRun(folder)


def _make(run: FinishedRun, folder: Path, spec: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Write a variant's folder; its model's configuration comes last."""
    (folder / "model" / "config.json").unlink(missing_ok=True)  # until the end: half a variant is none
    _share_weights(run.folder / "model", folder / "model")
    for name in MADE_WITH:
        if (run.folder / name).is_file():
            _copy(run.folder / name, folder / name)
    write_text(folder / "config.yaml", yaml.safe_dump(run.config | {"pruner": dict(spec)}, sort_keys=False))
    write_text(folder / "model" / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")


def _is_made(source: Path, target: Path) -> bool:
    """Return True where a variant is complete and has the run's present weights."""
    weights = target / WEIGHTS
    if not (target / "config.json").is_file() or not weights.is_file():
        return False
    return weights.samefile(source / WEIGHTS) or filecmp.cmp(weights, source / WEIGHTS, shallow=False)


def _share_weights(source: Path, target: Path) -> None:
    """Link the weights and copy what lies beside them, the configuration and the card left out."""
    (target / "README.md").unlink(missing_ok=True)
    for path in source.iterdir():
        if path.name == WEIGHTS:
            _link(path, target / path.name)
        elif path.is_file() and path.name not in ("config.json", "README.md"):
            _copy(path, target / path.name)


def _link(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, partial)
    partial.replace(target)


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as partial:
        shutil.copyfile(source, partial)


def _text(value: Any) -> str:
    """Write an argument so that it can be part of a folder's name."""
    return re.sub(r"[^0-9a-zA-Z.]+", "_", str(value)).strip("_")
