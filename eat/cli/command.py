"""What every command has in common: it composes, calls, and ends in one line where something is wrong."""

import contextlib
import dataclasses
import functools
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from eat.cli.compose import CONF
from eat.cli.messages import explain, is_users, typed_overrides
from eat.cli.settings import register

FULL = "HYDRA_FULL_ERROR"


@dataclasses.dataclass(frozen=True)
class Failed:
    """What a job of a multirun returns that could not be done; the others go on."""

    message: str


def command(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[..., Any]]:
    """Make a command of a function of its configuration, ``conf/<config_name>.yaml`` with what was typed.

    An error of the user's is one line on stderr and exit code 1, Hydra's own errors included; ``HYDRA_FULL_ERROR=1``
    shows its traceback. A fault of the program keeps its traceback. In a multirun the other jobs run all the same, and
    ``CombinedReport`` says at the end which failed. Called with a configuration, a command is just its function.
    """
    register()

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def main(config: DictConfig | None = None) -> Any:
            return _run(function, config_name) if config is None else function(config)

        return main

    return decorate


def _run(function: Callable[[DictConfig], Any], config_name: str) -> None:
    """Compose what was typed and call the function, once or for each job of a multirun."""
    wants_traceback = os.environ.get(FULL) == "1"

    @functools.wraps(function)
    def job(config: DictConfig) -> Any:
        try:
            return function(config)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                return Failed(_say(error, config_name, wants_traceback or not is_users(error)))
            if wants_traceback or not is_users(error):
                raise
            _say(error, config_name)
            raise SystemExit(1) from None

    try:
        with _errors_raised():
            hydra.main(version_base="1.3", config_path=CONF, config_name=config_name)(job)()
    except KeyboardInterrupt:
        if wants_traceback:
            raise
        sys.exit(130)  # as shells have it
    except Exception as error:
        if wants_traceback or not is_users(error):
            raise
        _say(error, config_name)
        sys.exit(1)


def _say(error: Exception, config_name: str, with_traceback: bool = False) -> str:
    """Write an error to stderr and return its line."""
    if with_traceback:
        traceback.print_exception(error)
    line = explain(error, config_name, typed_overrides()) if is_users(error) else f"{type(error).__name__}: {error}"
    print(f"error: {line}", file=sys.stderr, flush=True)
    return line


@contextlib.contextmanager
def _errors_raised() -> Iterator[None]:
    """Let Hydra raise what it would print: with its own frames left out, and its advice below."""
    before = os.environ.get(FULL)
    os.environ[FULL] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[FULL]
        else:
            os.environ[FULL] = before
