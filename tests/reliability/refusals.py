"""What a refusal must look like: one clear line, of a class that means a user's error, that names what it is about."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import eat
from tests.reliability.campaign import Case, one_line, place

THEIRS = re.compile(r"It looks like the config file at '[^']+' is not a valid JSON file\.")
"""What transformers says of a broken ``config.json`` that it reads itself: of another class, but one clear line."""
CLASSES = (ValueError, FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
LONGEST = 1200
REFUSED = object()
"""What `attempt` returns for a call that was refused as it should be, or as it should not."""


def attempt(case: Case, call: Callable[[], Any], names: Collection[str], what: str, *, also: tuple = ()) -> Any:
    """Return what a call returns, or `REFUSED`; a refusal that is none of ours, or unclear, is a failure of the case.

    Args:
        case: Takes the failure.
        call: What is tried.
        names: The message must hold one of them.
        what: What is tried, for the failure's name.
        also: Further classes that mean a user's error here, such as Hydra's, whose messages are not looked at.
    """
    try:
        return call()
    except also:
        return REFUSED
    except Exception as error:
        fault = complaint(error, names)
        if fault is not None:
            case.fail(f"{what}: {fault}, {type(error).__name__} in {place(error)}", one_line(error))
        return REFUSED


def complaint(error: Exception, names: Collection[str]) -> str | None:
    """Say what is wrong with a refusal; None where nothing is."""
    text = str(error)
    if isinstance(error, OSError) and THEIRS.fullmatch(text):
        return None
    if type(error) not in CLASSES and not type(error).__module__.startswith(f"{eat.__name__}."):
        return "an error of a class that is no user's"
    if "\n" in text.strip() or not text.strip():
        return "a message of several lines" if text.strip() else "an error without a message"
    if len(text) > LONGEST:
        return "a message that nobody reads to its end"
    if not any(name in text for name in names):
        return "a message that does not name what it is about"
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None and not Path(trace.tb_frame.f_code.co_filename).is_relative_to(Path(eat.__file__).parent):
        return "an error that was not raised here"
    return None
