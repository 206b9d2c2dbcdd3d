"""What is typed for a training, checked before there is a folder: each value by the key that it was typed under."""

import inspect
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from eat.attention import build_attention
from eat.backbones.base import DENSE
from eat.checks import closest, folder_name, one_of, shown, true_or_false, whole_number
from eat.cli.build import build
from eat.data.module import check_data_options
from eat.evaluation import check_options
from eat.exits import build_exit
from eat.pruners import build_pruner
from eat.runs.data import FOLDERS
from eat.runs.saved import SECTIONS
from eat.tasks import build_task
from eat.training.best import check_best_metric
from eat.training.compression import build_compression
from eat.training.objectives import check_objective
from eat.training.trainer import check_length

KEYS = {
    "": (
        *(*SECTIONS, "best", "evaluation", "seed", "head_depths", "head_pooling", "budget", "holdout", "experiment"),
        *("paths", "retrofit", "resume", "fresh"),
    ),
    "best.": ("metric",),
    "budget.": ("name", "train_examples", "epochs", "max_steps"),
    "holdout.": ("name", "threshold_examples", "certification_examples"),
    "paths.": ("runs",),
}
"""What is read of the configuration itself; each part says what else it takes."""
OPTIONAL = ("experiment", "retrofit", "train_examples")  # what the rest is composed from


def check_training(values: Mapping[str, Any]) -> None:
    """Check all options of a training that can be checked without its data, by building its parts.

    Raises:
        FileNotFoundError: If a run that an option names is not there.
        ValueError: Naming the key that is unknown, of another type or out of range.
    """
    for prefix, known in KEYS.items():
        section = values[prefix[:-1]] if prefix else values
        check_keys(prefix, section, known)
        _check_given(prefix, section, known)
    for part in ("backbone", "budget", "holdout"):
        _check_word(f"{part}.name", values[part].get("name"))
    check_evaluation(values["evaluation"])
    if whole_number("seed", values["seed"], at_least=0) >= 2**32:
        raise ValueError(f"seed: expected an integer below 2^32, got {values['seed']}")
    check_length("budget.epochs", "budget.max_steps", values["budget"]["epochs"], values["budget"]["max_steps"])
    _check_head_depths(values["head_depths"])
    one_of("head_pooling", values["head_pooling"], ("cls", "mean"))
    true_or_false("fresh", values["fresh"])
    check_best_metric(values["best"]["metric"])
    build_attention(values["attention"])
    build_pruner(values["pruner"])
    build_exit(values["exit"])
    check_objective(values["objective"])
    build_compression(values["compression"])
    build_task(values["task"])
    own = inspect.signature(check_data_options).parameters.keys()
    check_keys("data.", values["data"], own | {"max_length", *FOLDERS, *values["task"]})
    check_folders(values["data"], values["task"]["name"])
    _check_given("data.", values["data"], own)
    check_data_options(**{key: value for key, value in values["data"].items() if key in own})
    if values["retrofit"] is not None:
        _check_retrofit(values["data"], values["optimizer"], values["compression"])
    _check_measurable(values["backbone"].get("feed_forward", DENSE), values["evaluation"].get("stages"))
    for part in ("data", "backbone"):
        whole_number(f"{part}.max_length", values[part].get("max_length"), at_least=3)
    _build_parts(values)


def check_folders(data: Mapping[str, Any], task: str | None = None) -> None:
    """Check where data lie: folders, or null; a file, which the task is of, lies where its own options say."""
    for key in FOLDERS:
        if data.get(key) is not None:
            folder_name(f"data.{key}", data[key])
    if task == "file" and data.get("root") is not None:
        raise ValueError(
            f"data.root: expected null with task=file, whose files data.train=, data.validation= and data.test= name, "
            f"got {shown(data['root'])}"
        )


def _check_measurable(feed_forward: str, stages: Collection[str] | None) -> None:
    """Refuse to end a training with what measures beside Hugging Face's model, where there is none."""
    if feed_forward != DENSE and (stages is None or {"benchmark", "plan"} & set(stages)):
        raise ValueError(
            f"evaluation.stages: with backbone.feed_forward={feed_forward} there is no Hugging Face model to measure "
            f"beside, expected stages without benchmark and plan, such as [quality,sweep], got {shown(stages)}"
        )


def _check_retrofit(data: Mapping[str, Any], optimizer: Mapping[str, Any], compression: Mapping[str, Any]) -> None:
    """Refuse options that heads on cached features have no use for."""
    if data["group_by_length"]:
        raise ValueError("data.group_by_length: expected false with retrofit, whose cached features have no length")
    if data["num_workers"]:
        raise ValueError(
            f"data.num_workers: expected 0 with retrofit, which collates nothing, got {data['num_workers']}"
        )
    if optimizer.get("layer_decay", 1) != 1:
        raise ValueError(
            f"optimizer.layer_decay: expected 1 with retrofit, which trains no layer, got {optimizer['layer_decay']}"
        )
    if compression["name"] != "none":
        raise ValueError(
            f"compression: expected none with retrofit, which leaves the encoder's weights as they are, got "
            f"{compression['name']}"
        )


def check_evaluation(options: Mapping[str, Any]) -> None:
    """Check what a training asks of its evaluation, by the keys of a training."""
    try:
        check_options(**options)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"evaluation.{error}") from error


def _build_parts(values: Mapping[str, Any]) -> None:
    """Build what is named with ``_target_``, and what needs a model on the smallest one."""
    build("backbone", values["backbone"])
    build("schedule", values["schedule"])
    optimizer = build("optimizer", values["optimizer"])(nn.Linear(1, 1))
    build("scheduler", values["scheduler"])(optimizer, total_steps=1)
    for name, callback in values["callbacks"].items():
        build(f"callbacks.{name}", callback)
    for name, logger in values["logger"].items():
        build(f"logger.{name}", logger, folder=Path())()
    if "checkpoints" not in values["callbacks"]:
        raise ValueError("callbacks.checkpoints: expected a value, got none: it keeps the best and the last model")
    given = {"callbacks": [], "logger": False, "default_root_dir": Path()}
    processes = build("trainer", values["trainer"], **given).world_size
    if processes > 1 and values["retrofit"] is not None:
        raise ValueError(
            f"trainer.devices: expected 1 with retrofit, whose heads train in seconds on one, got {processes}"
        )
    if values["data"]["batch_size"] < processes:
        raise ValueError(
            f"data.batch_size: expected an example for each of {processes} devices, which share each batch out, got "
            f"{values['data']['batch_size']}; raise it, or lower trainer.devices"
        )


def need(config: DictConfig, key: str, expected: str, advice: str) -> None:
    """Refuse a command without a value that it cannot do without; ``advice`` ends the message."""
    if key not in config or OmegaConf.is_missing(config, key):
        raise ValueError(f"{key}: expected {expected}, got none{advice}")


def check_keys(prefix: str, values: Any, known: Collection[str]) -> None:
    """Refuse a key that nothing reads, naming the closest; ``prefix`` is what stands before it, such as ``data.``."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{prefix[:-1]}: expected {prefix}key=value, got {prefix[:-1]}={shown(values)}")
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"{prefix}{key}: expected one of {sorted(known)}{closest(key, known)}")
        if not prefix and key in (*SECTIONS, "evaluation") and not isinstance(value, Mapping):
            raise ValueError(f"{key}: expected {key}.name=value, got {shown(value)}")


def _check_given(prefix: str, values: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse that a key which is read was removed."""
    for key in known:
        if key not in values and key not in OPTIONAL:
            raise ValueError(f"{prefix}{key}: expected a value, got none; leave it out for the default")


def _check_word(key: str, name: Any) -> None:
    """Check what becomes a part of the run folder's name."""
    if not isinstance(name, str) or not re.fullmatch(r"[\w.+-]+", name):
        raise ValueError(f"{key}: expected a word, which the run folder's name has, got {shown(name)}")


def _check_head_depths(depths: Any) -> None:
    if depths not in (None, "all"):
        if not isinstance(depths, list):
            raise ValueError(f"head_depths: expected a list of depths, such as [2,4], all or null, got {shown(depths)}")
        for depth in depths:
            whole_number("head_depths", depth)
