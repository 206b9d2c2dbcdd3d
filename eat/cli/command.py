"""What every command has in common: it composes, calls, and ends in one line where something is wrong."""

import contextlib
import functools
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from eat.cli.compose import HYDRA
from eat.cli.jobs import FOLDER, Failed, do_job, job_folder, note_failure
from eat.cli.messages import explain, is_users, typed_overrides
from eat.cli.multirun import ending_sweeps
from eat.cli.pipe import end_with_pipe
from eat.cli.process import do_in_own_process, end_with_launcher, needs_process
from eat.cli.settings import register

FULL = "HYDRA_FULL_ERROR"


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
    if FOLDER in os.environ:
        end_with_launcher()
    try:
        with _errors_raised(), ending_sweeps():
            hydra.main(**HYDRA, config_name=config_name)(_task(function, config_name, wants_traceback))()
    except KeyboardInterrupt:
        if wants_traceback:
            raise
        sys.exit(130)  # as shells have it
    except BrokenPipeError:
        end_with_pipe()
    except Exception as error:
        if wants_traceback or not is_users(error):
            raise
        say(error, config_name)
        sys.exit(1)


def _task(
    function: Callable[[DictConfig], Any], config_name: str, wants_traceback: bool
) -> Callable[[DictConfig], Any]:
    """Return what Hydra is to call with what it composed; a job of a multirun notes what becomes of it."""

    def alone(config: DictConfig) -> Any:
        try:
            return function(config)
        except Exception as error:
            if wants_traceback or not is_users(error):
                raise
            say(error, config_name)
            raise SystemExit(1) from None

    def job(config: DictConfig, folder: Path) -> Any:
        try:
            return do_job(function, config, folder)
        except Exception as error:
            message = say(error, config_name, wants_traceback or not is_users(error))
            note_failure(folder, message)
            if FOLDER in os.environ:  # which is read by the process that started this one
                raise SystemExit(1) from None
            return Failed(message)

    @functools.wraps(function)
    def task(config: DictConfig) -> Any:
        if (folder := job_folder()) is None:
            return alone(config)
        if needs_process():
            return do_in_own_process(config_name, folder, {FULL: "1"} if wants_traceback else {})
        return job(config, folder)

    return task


def say(error: Exception, config_name: str, with_traceback: bool = False) -> str:
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
