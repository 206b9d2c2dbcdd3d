"""One job of a multirun: its note in the sweep's folder, and its report of an earlier time where that still holds."""

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from eat.evaluation import Report
from eat.evaluation.between_runs.sound import run_folder
from eat.evaluation.report.table import read_rows
from eat.files import read_object, write_text

log = logging.getLogger(__name__)

NOTE = "job.json"
FOLDER = "EAT_JOB"
"""Environment variable by which a job's own process (`eat.cli.process`) knows where its note lies."""
WAITING, STARTED, DONE, FAILED = "waiting", "started", "done", "failed"

_doing: ContextVar[tuple[Path, DictConfig] | None] = ContextVar("_doing", default=None)
"""Folder and configuration of the job that this process is doing."""


@dataclasses.dataclass(frozen=True)
class Failed:
    """What a job of a multirun returns that could not be done; the others go on."""

    message: str


@dataclasses.dataclass(frozen=True)
class Note:
    """What is known of a job, in its folder: a file, so that it does not matter which process does the job."""

    typed: list[str]  # the job's overrides
    state: str = WAITING
    report: str | None = None  # folder of the report that the job made last
    made_from: str | None = None  # digest of that report and of what it followed from
    error: str | None = None

    def write(self, folder: Path) -> None:
        """Write the note, whole or not at all."""
        write_text(folder / NOTE, json.dumps(dataclasses.asdict(self), indent=1) + "\n")


def read_note(folder: Path, typed: list[str]) -> Note:
    """Return the note of a job; a new one where there is none that can be read, or it is another job's."""
    try:
        note = Note(**read_object(folder / NOTE))
    except (OSError, TypeError, ValueError):
        return Note(typed)
    return note if note.typed == typed else Note(typed)


def job_folder() -> Path | None:
    """Return the folder of the job that this process is to do; None outside of a multirun."""
    if FOLDER in os.environ:
        return Path(os.environ[FOLDER])
    hydra = HydraConfig.get()
    return Path(hydra.runtime.output_dir) if hydra.mode == RunMode.MULTIRUN else None


def do_job(function: Callable[[DictConfig], Any], config: DictConfig, folder: Path) -> Any:
    """Do a job in this process, noting that it has begun and what it returned."""
    typed = list(HydraConfig.get().overrides.task)
    dataclasses.replace(read_note(folder, typed), state=STARTED, error=None).write(folder)
    token = _doing.set((folder, config))
    try:
        value = function(config)
    finally:
        _doing.reset(token)
    if isinstance(value, Report):
        Note(typed, DONE, str(value.folder), _digest(config, value.folder)).write(folder)
    else:
        Note(typed, DONE).write(folder)
    return value


def note_failure(folder: Path, message: str) -> None:
    """Note how a job failed; what it reported earlier is no longer its report."""
    Note(list(HydraConfig.get().overrides.task), FAILED, error=message).write(folder)


def in_sweep() -> bool:
    """Return whether this process is doing a job of a multirun."""
    return _doing.get() is not None


def earlier_report() -> Report | None:
    """Return what this job of a multirun reported earlier, where it would report the same now.

    None where configuration, weights, traces or report have changed since, and where all is to be made anew.
    """
    doing = _doing.get()
    if doing is None or doing[1].get("fresh"):
        return None
    folder, config = doing
    note = read_note(folder, list(HydraConfig.get().overrides.task))
    if note.report is None:
        return None
    report = Path(note.report)
    try:
        if _digest(config, report) != note.made_from:
            return None
        rows = read_rows(report / "frontier.csv")
    except (OSError, ValueError):  # removed, moved or half written since
        return None
    log.info("evaluated already, and nothing has changed since: %s", report)
    return Report(report, rows, "")


def _digest(config: DictConfig, report: Path) -> str:
    """Name a report and what it follows from: the configuration, the model, the traces and the report's own files."""
    run = run_folder(report)
    values = OmegaConf.to_container(config, resolve=True)
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for folder in (run / "model", run / "trace", report):
        for path in sorted(path for path in folder.glob("*") if path.is_file()):
            with path.open("rb") as handle:
                digest.update(path.name.encode() + hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:16]
