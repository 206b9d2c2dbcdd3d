"""Calls without the type checks that run beside tests, so that what users see can be seen: the package's own errors."""

import inspect
from typing import Any


def unchecked(part: type, **arguments: Any) -> Any:
    """Construct ``part`` as outside of tests."""
    made = object.__new__(part)
    inspect.unwrap(part.__init__)(made, **arguments)
    return made
