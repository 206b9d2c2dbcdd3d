"""Overrides of a command line as an experiment of ``conf/experiment``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from eat.cli.compose import CONF
from eat.runs.naming import SESSION


def experiment_text(name: str, overrides: Sequence[str]) -> str:
    """Return the text of an experiment that composes what the overrides do; a later one of a key replaces it."""
    defaults: list[Any] = []
    groups: dict[str, Any] = {}
    values: dict[str, Any] = {"experiment": name}
    removed = []
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.get_key_element().lstrip("+~")
        if override.is_delete():
            removed.append(str(override.input_line))
        elif key.partition(".")[0] in SESSION:  # of this machine
            continue
        elif key == "experiment":
            defaults.append(f"/experiment/{override.value()}")
        elif "." not in key and (Path(CONF) / key.partition("@")[0]).is_dir():
            groups[f"override /{key}"] = override.value()
        else:
            _set(values, key.split("."), override.value())
    head = ["# @package _global_", *(f"# also type {line}, which no experiment can say" for line in removed)]
    defaults += [{key: value} for key, value in groups.items()]
    text = yaml.safe_dump({"defaults": defaults} | values if defaults else values, sort_keys=False)
    return "\n".join([*head, text])


def _set(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for key in path[:-1]:
        values = values.setdefault(key, {})
    values[path[-1]] = value
