"""Results in a run folder as they are read back: of these weights, and of the types that they were written with."""

import dataclasses
import logging
import types
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from eat.checks import one_line, shown
from eat.files import read_object

log = logging.getLogger(__name__)

Result = TypeVar("Result")


def read_for(
    path: Path, fingerprint: str, build: Callable[[dict[str, Any]], Result], made: str, stage: str
) -> Result | None:
    """Read a result that belongs to certain weights; None where there is none, or it belongs to others.

    It is built from the file's values without the fingerprint, and every value is checked against its type; a warning
    says "was {made} other weights".

    Raises:
        ValueError: If the file is damaged, or is something else of that name.
    """
    if not path.is_file():
        return None
    try:
        values = read_object(path)
        if not isinstance(found := values.pop("fingerprint", None), str):
            raise ValueError("it names no weights: no 'fingerprint'")
        if found == fingerprint:
            return checked(build(values))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else one_line(error) or type(error).__name__
        raise ValueError(f"{path} is damaged or foreign ({said}); delete it and run stages=[{stage}] again") from error
    log.warning("%s was %s other weights and is left out; run stages=[%s] again", path, made, stage)
    return None


def tuples(values: Any) -> Any:
    """Turn the lists in JSON values back into tuples, at any depth."""
    if isinstance(values, dict):
        return {key: tuples(value) for key, value in values.items()}
    return tuple(map(tuples, values)) if isinstance(values, list) else values


def need(name: str, values: Mapping[str, Any], keys: Collection[str]) -> None:
    """Refuse values among which a key is missing, with a ValueError that names it."""
    missing = [key for key in keys if key not in values]
    if missing:
        raise ValueError(f"{name}: expected the keys {list(keys)}, got none of the name {missing[0]!r}")


def checked(result: Result, name: str = "") -> Result:
    """Return a dataclass whose values are all of the types that its fields say, at any depth.

    Raises:
        ValueError: Naming the first value that is of another type.
    """
    hints = get_type_hints(type(result))
    for field in dataclasses.fields(result):  # type: ignore[arg-type]
        _check(f"{name}{field.name}", getattr(result, field.name), hints[field.name])
    return result


def _check(name: str, value: Any, hint: Any) -> None:
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    fitting = [one for one in options if _is_a(value, one)]
    if not fitting:
        wanted = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
        raise ValueError(f"{name}: expected {wanted.replace('collections.abc.', '')}, got {shown(value)}")
    if dataclasses.is_dataclass(value):
        checked(value, f"{name}.")
    for key, one, kind in _parts(value, get_args(fitting[0])):
        _check(f"{name}[{shown(key)}]", one, kind)


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a value is of the outermost type; whole numbers pass for real ones, but True for no number."""
    kind = get_origin(hint) or hint
    if kind is Any:
        return True
    if isinstance(value, bool):
        return kind is bool
    if kind is tuple and isinstance(value, tuple):
        return get_args(hint)[-1] is Ellipsis or len(get_args(hint)) == len(value)
    return isinstance(value, int | float if kind is float else kind)


def _parts(value: Any, kinds: tuple[Any, ...]) -> list[tuple[Any, Any, Any]]:
    """Return the place, value and type of all that a mapping or a tuple holds."""
    if isinstance(value, Mapping) and kinds:
        return [(key, one, kinds[1]) for key, one in value.items()]
    if isinstance(value, tuple) and kinds:
        kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        return list(zip(range(len(value)), value, kinds, strict=True))
    return []
