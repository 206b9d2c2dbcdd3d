"""What a multirun begins and ends with: a folder that the same command finds again, and one combined table and figure.

A sweep's folder holds command.txt, a folder with a note for each job, and at the end combined.md, .csv and .png.
"""

import contextlib
import dataclasses
import hashlib
import json
import re
import shlex
import shutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write

from eat.checks import folder_name, one_line
from eat.cli.jobs import DONE, NOTE, STARTED, WAITING, Note, read_note
from eat.evaluation import combine
from eat.evaluation.between_runs.combined import write_failures
from eat.evaluation.command import quoted
from eat.files import write_text
from eat.runs.lock import locked
from eat.runs.naming import override_key

COMMAND = "command.txt"
COMBINED = ("combined.md", "combined.csv", "combined.png", "exits.md", "exits.csv", "exits.png")
NOT_ENDED = {
    STARTED: "its process ended without a word, or still runs; the same command goes on with it",
    WAITING: "it was not started; the same command starts it",
}


@dataclasses.dataclass
class Sweep:
    """A multirun that this process is doing."""

    folder: Path
    jobs: list[list[str]]  # overrides of each
    fixed: set[str]  # keys that are the same for all
    held: contextlib.ExitStack  # its lock
    ended: bool = False


_ongoing: list[Sweep] = []
"""At most one: Hydra gives callbacks no way to end what failed, and copies them to other processes."""


class CombinedReport(Callback):
    """Gives a multirun its folder and its notes, and at the end combines the jobs' reports there.

    Jobs note themselves what becomes of them (`eat.cli.jobs`).
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Name the folder, hold it, and note which jobs there are; what they reported earlier is kept.

        Raises:
            SystemExit: If that cannot be; what else a callback raises is but a warning to Hydra.
        """
        try:
            if "paths" in config:
                folder_name("paths.runs", config.paths.runs)  # before Hydra makes a folder there
            _ongoing[:] = [_begin(config)]
        except (HydraException, OSError, RuntimeError, ValueError) as error:
            raise SystemExit(f"error: {one_line(error)}") from error

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Combine what was noted, in the order of the jobs.

        Raises:
            SystemExit: If a job failed.
        """
        if _ongoing:
            _end(_ongoing[0])


@contextlib.contextmanager
def ending_sweeps() -> Iterator[None]:
    """Let a multirun end with its table even where its launcher fails, and let go of its folder."""
    try:
        yield
    except Exception as error:
        if not _ongoing or not any(note.state != WAITING for note in _notes(_ongoing[0])):
            raise  # nothing was started: what was typed is wrong
        print(f"error: the launcher failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        _end(_ongoing[0])
        raise SystemExit("error: the launcher failed; see above") from error
    except BaseException:
        if _ongoing and not _ongoing[0].ended:
            print(f"stopped; the same command goes on, in {_ongoing[0].folder}", file=sys.stderr, flush=True)
        raise
    finally:
        while _ongoing:
            _ongoing.pop().held.close()


def _begin(config: DictConfig) -> Sweep:
    typed = list(config.hydra.overrides.task)
    overrides = _parsed(config, typed)
    _refuse_empty(overrides)
    if not any(override_key(override) == "hydra.sweep.dir" for override in config.hydra.overrides.hydra):
        _name_folder(config, typed)
    folder = Path(config.hydra.sweep.dir)
    (jobs,) = BasicSweeper.split_arguments(overrides, None)
    fixed = {override.get_key_element() for override in overrides if not override.is_sweep_override()}
    with contextlib.ExitStack() as held:
        held.enter_context(_held(folder))
        for number, job in enumerate(jobs):
            note = read_note(folder / str(number), job)
            dataclasses.replace(note, state=WAITING, error=None).write(folder / str(number))
        for path in folder.glob(f"*/{NOTE}"):
            if path.parent.name not in map(str, range(len(jobs))):  # of another command that was given this folder
                shutil.rmtree(path.parent)
        write_text(folder / COMMAND, f"{command_line()}\n")
        return Sweep(folder, jobs, fixed, held.pop_all())


def _parsed(config: DictConfig, typed: Sequence[str]) -> list[Override]:
    """Return the overrides of all jobs: those of the experiment, then those that were typed."""
    params = config.hydra.sweeper.get("params") or {}
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())  # which lists for glob(*)
    return parser.parse_overrides([*(f"{key}={value}" for key, value in params.items()), *typed])


def _refuse_empty(overrides: Sequence[Override]) -> None:
    """Refuse a sweep of no values, such as a glob that matches nothing: Hydra runs no job then, and is content.

    Raises:
        ValueError: If there is one.
    """
    for override in overrides:
        if override.is_sweep_override() and not any(True for _ in override.sweep_string_iterator()):
            key, loader = override.get_key_element(), override.config_loader
            known = loader.get_group_options(key) if isinstance(override.value(), Glob) and loader else []
            among = f" of {known}" if known else ""
            typed = str(override.input_line).partition("=")[2]
            raise ValueError(f"{key}: {typed} stands for none{among}, so that there is no job")


def _name_folder(config: DictConfig, typed: Sequence[str]) -> None:
    """Name a sweep's folder after its experiment and what was typed, so that the same command finds it again.

    What says where runs lie, or that they are to begin anew, is left out.
    """
    name = re.sub(r"[^\w.+-]+", "_", str(config.get("experiment") or config.hydra.job.config_name))
    named = [override for override in typed if override_key(override) not in ("fresh", "paths.runs")]
    digest = hashlib.sha256(json.dumps([config.hydra.job.config_name, *named]).encode()).hexdigest()[:8]
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.sweep.dir = f"{config.hydra.sweep.dir}/{name}-{digest}"
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(config.hydra.sweep.dir)}")  # for the jobs


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder, wait=False):
            yield
    except RuntimeError as error:
        raise RuntimeError(
            f"hydra.sweep.dir: another process does the sweep in {folder}; wait for it, stop it, or name another folder"
        ) from error


def command_line() -> str:
    """Return what was typed to start this process, quoted for a shell."""
    program = Path(sys.argv[0].partition(" ")[0])
    if program.suffix == ".py":
        start = ["python", "-m", "eat"] if program.name == "__main__.py" else ["python", str(_short(program))]
    else:
        start = [program.name]
    return shlex.join([*start, *sys.argv[0].split(" ")[1:], *sys.argv[1:]])


def _short(path: Path) -> Path:
    here = Path.cwd()
    return path.resolve().relative_to(here) if path.resolve().is_relative_to(here) else path


def _notes(sweep: Sweep) -> list[Note]:
    return [read_note(sweep.folder / str(number), job) for number, job in enumerate(sweep.jobs)]


def _end(sweep: Sweep) -> None:
    """Combine the jobs' reports.

    Raises:
        SystemExit: If a job failed, or the reports could not be combined.
    """
    sweep.ended = True
    failures: dict[str, str] = {}
    jobs: dict[str, list[str]] = {}  # those that made a report, by its folder
    for number, note in enumerate(_notes(sweep)):
        own = " ".join(override for override in note.typed if override.partition("=")[0] not in sweep.fixed)
        job = f"job {number} ({own})"
        if note.state != DONE:
            failures[job] = str(note.error or NOT_ENDED[note.state])
        elif note.report is not None:
            jobs.setdefault(note.report, []).append(job)
    same = [f"{' and '.join(names)} are one run: nothing differs between them" for names in jobs.values() if names[1:]]
    command = (sweep.folder / COMMAND).read_text(encoding="utf-8")
    try:
        if jobs:
            combine(list(jobs), sweep.folder, failures, notes=same, command=command)
        else:
            for name in COMBINED:  # an earlier table would be taken for this one
                (sweep.folder / name).unlink(missing_ok=True)
            if failures:
                write_failures(sweep.folder, failures, command)
    except Exception as error:
        traceback.print_exc()
        raise SystemExit(f"error: the reports of {sweep.folder} could not be combined") from error
    if failures:
        raise SystemExit(f"error: {len(failures)} of {len(sweep.jobs)} jobs failed: {', '.join(failures)}; see above")
