"""Calls without the type checks that run beside tests, so that what users see can be seen: the package's own errors."""

import inspect
from typing import Any


def unchecked(part: type, **arguments: Any) -> Any:
    """Construct ``part`` as outside of tests."""
    made = object.__new__(part)
    inspect.unwrap(part.__init__)(made, **arguments)
    return made


def unchecked_settings(settings: type, **values: Any) -> Any:
    """Construct a dataclass with defaults as outside of tests."""
    made = object.__new__(settings)
    for name, parameter in inspect.signature(settings).parameters.items():
        object.__setattr__(made, name, values.get(name, parameter.default))
    inspect.unwrap(settings.__post_init__)(made)
    return made
