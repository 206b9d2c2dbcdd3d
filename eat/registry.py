"""Build a named part of a family, for saved configs and for YAML alike."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from eat.checks import closest, one_of, plain

T = TypeVar("T")


def build_part(family: str, table: Mapping[str, Callable[..., T]], spec: Mapping[str, Any]) -> T:
    """Build the part ``spec["name"]`` of a family with the spec's other keys as constructor arguments.

    Only names in the table can be built: loading a stranger's model never imports what its config says.

    Raises:
        ValueError: If the name or an argument is unknown, an argument is missing, or the constructor refuses a value.
    """
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
        raise ValueError(f"{family}: expected a mapping with a 'name' out of {sorted(table)}, got {spec!r}")
    name = spec["name"]
    one_of(f"{family}.name", name, table)
    arguments = {str(key): plain(value) for key, value in spec.items() if key != "name"}
    parameters = inspect.signature(table[name]).parameters
    for key in arguments:
        if key not in parameters:
            raise ValueError(
                f"{family}.{key}: {family} {name!r} takes {sorted(parameters) or 'no arguments'}, "
                f"got {key!r}{closest(key, parameters)}"
            )
    missing = [p.name for p in parameters.values() if p.default is p.empty and p.name not in arguments]
    if missing:
        raise ValueError(f"{family}.{missing[0]}: {family} {name!r} needs a value for {missing}, got none")
    return table[name](**arguments)
