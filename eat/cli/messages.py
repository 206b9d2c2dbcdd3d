"""What a command says when it stops: one line for an error of the user's, a traceback for a fault of the program."""

import difflib
import dis
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    GrammarParseError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from eat.checks import closest, one_line, shown
from eat.cli.compose import CONF
from eat.cli.settings import options

_SAID = (ValueError, RuntimeError, FloatingPointError, ImportError)
"""What our own code, or Hydra's, raises to say that a value, a file, a state or a package is not as it must be."""
_CHOOSING = ("hydra._internal.defaults_list", "hydra.core.default_element")
"""Where Hydra reads what was chosen for each group; it expects words there, and stumbles over anything else."""
_OF_CONFIGURATIONS = (HydraException, MissingMandatoryValue, InterpolationResolutionError, GrammarParseError)


def is_users(error: BaseException) -> bool:
    """Return True for what a user can mend; a fault of the program is anything else.

    The system's errors (a full disk, a missing file, no network) and a configuration's are the user's, and so is what a
    ``raise`` of this package or of Hydra says. The same classes out of a library, or of an operation on values that
    nobody checked (``int("abc")``), are faults. That nobody reads stdout any more is no error at all.
    """
    if isinstance(error, BrokenPipeError):
        return False
    frame = _innermost(error)
    if isinstance(error, (OSError, *_OF_CONFIGURATIONS)) or _module(frame) in _CHOOSING:
        return True
    if frame is None or not isinstance(error, _SAID):
        return False
    raised = frame.tb_frame.f_code.co_code[frame.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return raised and _module(frame).partition(".")[0] in ("eat", "hydra")


def explain(error: BaseException, config_name: str, typed: Sequence[str]) -> str:
    """Return one line that says what is wrong: the key as it was typed, what was expected, what to do.

    ``config_name`` is the command's configuration and ``typed`` its overrides, for the closest known key.
    """
    text = str(error)
    group, option = _chosen(str(getattr(error, "missing_cfg_file", "")))
    if isinstance(error, MissingConfigException) and group == "hydra/launcher":
        known = ["basic", "joblib", "submitit_local", "submitit_slurm", *options(group)]
        more = closest(option, known) or "; all but basic need pip install 'eat-transformers[cluster]'"
        return f"{group}: expected one of {known} that is installed, got {shown(option)}{more}"
    if isinstance(error, MissingConfigException) and (known := options(group)):
        return f"{group}: expected one of {known}, got {shown(option)}{closest(option, known)}"
    if isinstance(error, OverrideParseException):
        reason = text.splitlines()[-2 if "See https" in text else -1]
        return f"{error.override}: expected key=value, in quotes where the value has spaces or brackets ({reason})"
    if found := re.match(r"Could not (?:override|delete from config\.|delete) '(?P<key>[^'=]+)", text):
        key = found["key"]
        return f"{key}: no such key of this command{_closest_key(key, _known_keys(config_name, typed))}; see --help"
    if _module(_innermost(error)) in _CHOOSING and (said := _odd_choice(typed)):
        return said
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key}: expected a value, got none; give it as {error.full_key}=..."
    cause = error.__cause__ if isinstance(error, HydraException) else None
    if isinstance(cause, OmegaConfBaseException):
        text = f"{text.splitlines()[0] if text else 'configuration'}: {str(cause).splitlines()[0]}"
    elif isinstance(error, OmegaConfBaseException):
        text = f"{error.full_key}: {text.splitlines()[0]}"
    return one_line(text.replace(", set env var HYDRA_FULL_ERROR=1 to see chained exception", ""))


def _chosen(file: str) -> tuple[str, str]:
    """Return the group of a file in ``conf`` that is not there, and what was chosen of it, folders and all."""
    group, _, option = file.partition("/")
    if group == "hydra":  # whose groups lie a folder deeper
        kind, _, option = option.partition("/")
        group = f"{group}/{kind}"
    return group, option


def _closest_key(key: str, known: Iterable[str]) -> str:
    """Name the first known key that ends like this one, else the one that is most like it."""
    by_end: dict[str, str] = {}
    for name in sorted(known, key=lambda name: name.count(".")):
        by_end.setdefault(name.rpartition(".")[2], name)
    end = key.rpartition(".")[2]
    close = [by_end[end]] if end in by_end else difflib.get_close_matches(key, list(by_end.values()), n=1)
    close = close or [by_end[name] for name in difflib.get_close_matches(end, by_end, n=1)]
    return f" (did you mean {close[0]!r}?)" if close and not f"{key}.".startswith(f"{close[0]}.") else ""


def _known_keys(config_name: str, typed: Sequence[str]) -> list[str]:
    """List the keys of a command's configuration, with the choices that were typed where they compose.

    What takes its value from another key comes first: it has the last word, as ``optimizer.lr`` over ``backbone.lr``.
    """
    for overrides in ([override for override in typed if _is_group(override)], []):
        try:
            with initialize_config_dir(CONF, version_base="1.3"):
                return [key for _, key in sorted(_keys(compose(config_name, overrides)))]
        except (HydraException, OmegaConfBaseException, ValueError):
            continue
    return []


def _keys(config: DictConfig, prefix: str = "") -> Iterator[tuple[bool, str]]:
    """List each key, with whether it has a value of its own."""
    for name in map(str, config):
        key = f"{prefix}{name}"
        yield not OmegaConf.is_interpolation(config, name), key
        value: Any = None if OmegaConf.is_missing(config, name) else config._get_node(name)
        if isinstance(value, DictConfig) and not value._is_none():
            yield from _keys(value, f"{key}.")


def _innermost(error: BaseException) -> TracebackType | None:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame


def _module(frame: TracebackType | None) -> str:
    return "" if frame is None else str(frame.tb_frame.f_globals.get("__name__", ""))


def _is_group(override: str) -> bool:
    group = override.partition("=")[0].partition("@")[0].lstrip("+~")
    return "=" in override and bool(re.fullmatch(r"\w+", group)) and (Path(CONF) / group).is_dir()


def _odd_choice(typed: Sequence[str]) -> str | None:
    for override in typed:
        if _is_group(override) and not _is_choice(override):
            key, _, value = override.lstrip("+~").partition("=")
            return f"{key}: expected one of {options(key)}, got {value or 'nothing'}; leave it out for the default"
    return None


def _is_choice(override: str) -> bool:
    """Return whether a group is given a word, or a list of words; ``nan`` and ``1e3`` are numbers to Hydra."""
    value = OverridesParser.create().parse_override(override).value()
    return all(isinstance(word, str) and "${" not in word for word in (value if isinstance(value, list) else [value]))


def typed_overrides() -> list[str]:
    """Return the overrides of this process's command line."""
    return [argument for argument in sys.argv[1:] if not argument.startswith("-")]
