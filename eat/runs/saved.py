"""The configuration that a run folder keeps: how it is written, and how it is read from a stranger's folder."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from eat.checks import one_line, shown
from eat.runs.naming import SESSION

PLACES = (
    *("data.root", "data.train", "data.validation", "data.test", "task.train", "task.validation", "task.test"),
    *("backbone.path", "backbone.classifier", "retrofit", "objective.teacher"),
)
"""Settings that name files and folders to read: kept absolute, so that a run is found from any folder."""

SECTIONS = (
    *("task", "data", "backbone", "attention", "pruner", "exit", "objective", "compression"),
    *("optimizer", "scheduler", "schedule", "trainer", "logger", "callbacks"),
)
"""Keys whose values are mappings."""

_MISSING = object()
PLAIN = (str, int, float, bool, type(None))
OF_DATA = ("task", "data", "backbone", "backbone.max_length", "seed")
"""What the data of a training follow from."""


def names_places(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration names a file or a folder."""
    for place in PLACES:
        section, _, key = place.rpartition(".")
        values = config.get(section) if section else config
        if isinstance(values, Mapping) and values.get(key):
            return True
    return False


def text_of(config: Mapping[str, Any]) -> str:
    """Return a configuration as ``config.yaml`` holds it, without what concerns one session on one machine."""
    kept = {key: value for key, value in config.items() if key not in SESSION}
    if "data" in kept:
        kept["data"] = kept["data"] | {"cache_dir": None}
    for place in PLACES:
        section, _, key = place.rpartition(".")
        values = kept.get(section) if section else kept
        name = values.get(key) if isinstance(values, Mapping) else None
        if not isinstance(values, Mapping) or not isinstance(name, str) or not name:
            continue
        if Path(name).expanduser().exists():
            changed = {**values, key: str(Path(name).expanduser().absolute())}
            kept = {**kept, section: changed} if section else changed
    return str(yaml.safe_dump(kept, sort_keys=False, allow_unicode=True))


def read_config(folder: Path, argument: str) -> dict[str, Any]:
    """Read ``config.yaml`` of a run folder as plain data: no tag, no interpolation, no resolver is obeyed.

    Where caches go is the business of who reads, so a saved ``data.cache_dir`` is not taken over.

    Args:
        folder: The run folder.
        argument: What messages call it.

    Raises:
        ValueError: If it is no configuration of a run, which names at least a task, or not plain; names the key and the
            value.
    """
    path = folder / "config.yaml"
    try:
        text = path.read_text(encoding="utf-8")
        aliases = any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader))
        config = None if aliases else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        reason = one_line(error)
        raise ValueError(f"{argument}: {path} is no readable YAML ({reason})") from error
    if aliases:
        raise ValueError(f"{argument}: {path}: expected no aliases (*name): a few lines of them can fill the memory")
    if not isinstance(config, dict):
        raise ValueError(f"{argument}: expected a run's configuration in {path}, got {_shown(config)}")
    _refuse_missing(config, ("task",), path, argument)
    for place, value in _values(config):
        if not isinstance(value, PLAIN) or (isinstance(value, str) and ("${" in value or value == "???")):
            raise ValueError(
                f"{argument}: {path}: {place}={shown(value)}, expected a plain value as a training writes it"
            )
    if isinstance(config.get("data"), dict):
        config["data"] = config["data"] | {"cache_dir": None}
    return config


def need(config: Mapping[str, Any], keys: Sequence[str], source: Path, argument: str = "run") -> None:
    """Check that a saved configuration has what somebody goes on with, who calls it ``argument``.

    Raises:
        ValueError: If a key is missing, or is no mapping where a training writes one.
    """
    _refuse_missing(config, keys, source, argument)
    for key in keys:
        if key in SECTIONS and not isinstance(config[key], Mapping):
            raise ValueError(f"{argument}: {source}: {key}: expected a mapping, got {_shown(config[key])}")


def check_links(folder: Path, argument: str) -> None:
    """Check that no link in a run folder leads out of it: what is written there must stay there.

    Links among the logs of an earlier W&B session, which it makes itself, are left alone: nothing writes there again.

    Raises:
        ValueError: Naming the link.
    """
    inside = folder.resolve()
    for path in folder.rglob("*"):
        if path.match("wandb/*/logs/*.log"):
            continue
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
            raise ValueError(
                f"{argument}: {path} is a link out of the run folder, to {path.readlink()}, which is refused; put "
                "there what it points to"
            )


def _refuse_missing(config: Mapping[str, Any], keys: Sequence[str], source: Path, argument: str) -> None:
    missing = [key for key in keys if _at(config, key) is _MISSING]
    if missing:
        raise ValueError(f"{argument}: {source} is no whole configuration of a run, {', '.join(missing)} missing")


def _at(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part, _MISSING) if isinstance(config, Mapping) else _MISSING
    return config


def _values(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key and every value of a configuration that is no mapping or list, with its place."""
    if isinstance(value, dict):
        for key, item in value.items():
            below = f"{place}.{key}" if place else str(key)
            yield below, key
            yield from _values(item, below)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _values(item, f"{place}[{index}]")
    else:
        yield place, value


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
