"""What a saved configuration may name: a stranger's folder is data, and nothing else that it names is imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eat.checks import as_typed, shown

OFFERED: Mapping[str, Mapping[str, bool]] = {
    "backbone": {
        "eat.training.backbones.PretrainedBackbone": False,
        "eat.training.backbones.TinyBackbone": False,
        "eat.training.retrofit.ClassifierBackbone": False,
    },
    "optimizer": {"eat.training.optimizer.adamw": True},
    "scheduler": {"eat.training.schedule.linear_warmup_decay": True},
    "schedule": {"eat.training.schedule.PruningSchedule": False},
    "trainer": {"eat.training.trainer.build_trainer": False},
    "callbacks.*": {
        "eat.training.checkpoints.RunCheckpoints": False,
        "eat.training.checkpoints.AnnealedEarlyStopping": False,
        "eat.training.progress.progress_bar": False,
    },
    "logger.*": {
        "eat.training.loggers.MetricsCsv": True,
        "eat.training.loggers.tensorboard_logger": True,
        "eat.training.loggers.wandb_logger": True,
    },
}
"""Place in a configuration -> what ``conf/`` offers there, each with its ``_partial_``; a star stands for any name."""


def check_targets(config: Mapping[str, Any], source: Path, typed: Mapping[str, str]) -> None:
    """Check everything that a saved configuration asks to be built, before anything is built or imported.

    Args:
        config: A configuration as `eat.runs.saved.read_config` reads it.
        source: Its file, for messages.
        typed: Place -> target that the user typed in this command: own words are no stranger's.

    Raises:
        ValueError: Naming the key and the value that ``conf/`` does not offer there.
    """
    _check(config, "", source, typed)
    for place in OFFERED:
        if not place.endswith("*") and "_target_" not in config.get(place, {}):
            raise ValueError(
                f"resume: {source}: {place}: expected a mapping with _target_, got {shown(config.get(place))}"
            )


def _check(value: Any, place: str, source: Path, typed: Mapping[str, str]) -> None:
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check(item, f"{place}[{index}]", source, typed)
    elif isinstance(value, Mapping):
        _check_node(value, place, source, typed)
        for key, item in value.items():
            _check(item, f"{place}.{key}" if place else str(key), source, typed)


def _check_node(node: Mapping[str, Any], place: str, source: Path, typed: Mapping[str, str]) -> None:
    """Check the keys of one mapping that say what is built and how."""
    special = {key: node[key] for key in node if isinstance(key, str) and key.startswith("_") and key.endswith("_")}
    target, partial = special.pop("_target_", None), special.pop("_partial_", False)
    offered = _offered(place)
    own = isinstance(target, str) and typed.get(place) == target
    prefix = f"{place}." if place else ""
    if special:
        key, value = next(iter(special.items()))
        raise ValueError(
            f"resume: {source}: {prefix}{key}={shown(value)} is nothing that a saved configuration may hold"
        )
    if "_target_" in node and not own and (not isinstance(target, str) or target not in offered):
        known = f"expected one of {sorted(offered)}" if offered else "expected none there"
        raise ValueError(
            f"resume: {source}: {prefix}_target_={shown(target)} is nothing that eat offers, {known}; nothing was "
            "built. Where the folder and this part are your own, type it as well: "
            f"{prefix}_target_={as_typed(str(target))}"
        )
    if not own and partial is not offered.get(target, False):
        raise ValueError(f"resume: {source}: {prefix}_partial_={shown(partial)}, expected {offered.get(target, False)}")


def _offered(place: str) -> Mapping[str, bool]:
    parent, _, name = place.rpartition(".")
    return OFFERED.get(place) or (OFFERED.get(f"{parent}.*", {}) if parent and name else {})
