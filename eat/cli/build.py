"""Build what a configuration names with ``_target_``: a class or function and its arguments, and nothing else.

Hydra's own ``instantiate`` does more than is used here, and from 1.4 on warns where a program does not list what it may
build. What a stranger's folder may name is checked before: see `eat.runs.targets`.
"""

import functools
import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from eat.checks import shown

SPECIAL = ("_target_", "_partial_")


def build(place: str, spec: Any, **more: Any) -> Any:
    """Build the part of a configuration at ``place``; ``more`` are arguments that are not for it to say.

    With ``_partial_`` a function comes back that takes the rest of its arguments later. Arguments that are parts
    themselves are built first.

    Raises:
        ValueError: If nothing is named, it cannot be imported, or an argument is missing, unknown or among ``more``.
    """
    if not isinstance(spec, Mapping) or not isinstance(spec.get("_target_"), str):
        raise ValueError(f"{place}: expected a mapping with _target_, the dotted name of a class, got {shown(spec)}")
    if taken := more.keys() & spec.keys():
        raise ValueError(f"{place}.{min(taken)}: expected none, eat gives it itself; got {shown(spec[min(taken)])}")
    target, partial = _locate(place, spec["_target_"]), spec.get("_partial_", False)
    arguments = {key: _argument(f"{place}.{key}", value) for key, value in spec.items() if key not in SPECIAL} | more
    _check_arguments(place, target, partial, arguments)
    return functools.partial(target, **arguments) if partial else target(**arguments)


def _argument(place: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return build(place, value)
        return {key: _argument(f"{place}.{key}", item) for key, item in value.items()}
    return [_argument(f"{place}[{i}]", item) for i, item in enumerate(value)] if isinstance(value, list) else value


def _locate(place: str, name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{place}._target_: {shown(name)} cannot be imported ({error})") from error
    if not callable(found):
        raise ValueError(f"{place}._target_: expected a class or a function, {shown(name)} is a {type(found).__name__}")
    return found


def _check_arguments(place: str, target: Any, partial: bool, arguments: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(target)
    except ValueError:  # a built-in that does not say what it takes
        return
    try:
        (signature.bind_partial if partial else signature.bind)(**arguments)
    except TypeError as error:
        known = ", ".join(signature.parameters) or "no arguments"
        raise ValueError(f"{place}: {target.__module__}.{target.__qualname__} takes {known}: {error}") from error
