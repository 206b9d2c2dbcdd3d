"""What a multirun ends with, of trainings and of evaluations alike: one combined table and figure."""

import json
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from eat.checks import folder_name
from eat.cli.command import Failed
from eat.evaluation import Report, combine
from eat.files import write_text

REPORT, FAILED = "report.txt", "failed.json"


class CombinedReport(Callback):
    """Notes in each job's folder where its report is, and at the end combines the reports in the sweep's folder.

    A job that failed is noted, named beside the table, and leaves an exit code of 1. The notes are files, so that
    launchers which run jobs in other processes work as well.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse an empty folder of runs before Hydra makes one there; forget what an earlier multirun noted."""
        if "paths" in config:
            try:
                folder_name("paths.runs", config.paths.runs)
            except ValueError as error:
                raise SystemExit(f"error: {error}") from error  # of other errors in callbacks Hydra only warns
        for name in (REPORT, FAILED):
            for note in Path(config.hydra.sweep.dir).glob(f"*/{name}"):
                note.unlink()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Note the report of a job of a multirun, or how it failed."""
        if config.hydra.mode.name != "MULTIRUN":
            return
        folder = Path(config.hydra.runtime.output_dir)
        value = job_return._return_value
        if isinstance(value, Report):
            write_text(folder / REPORT, f"{value.folder}\n")
        elif isinstance(value, Failed | Exception):
            message = value.message if isinstance(value, Failed) else f"{type(value).__name__}: {value}"
            write_text(folder / FAILED, json.dumps({"typed": list(config.hydra.overrides.task), "error": message}))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Combine what was noted, in the order of the jobs.

        Raises:
            SystemExit: If a job failed; what else a callback raises is but a warning to Hydra.
        """
        sweep = Path(config.hydra.sweep.dir)
        typed = OverridesParser.create().parse_overrides(config.hydra.overrides.task)
        fixed = {override.get_key_element() for override in typed if not override.is_sweep_override()}
        failures = {}
        for note in _in_order(sweep, FAILED):
            failed = json.loads(note.read_text(encoding="utf-8"))
            own = " ".join(override for override in failed["typed"] if override.partition("=")[0] not in fixed)
            failures[f"job {note.parent.name} ({own})"] = str(failed["error"])
        reports = [note.read_text(encoding="utf-8").strip() for note in _in_order(sweep, REPORT)]
        total = len(reports) + len(failures)
        if reports:
            try:
                combine(reports, sweep, failures)
            except Exception as error:
                traceback.print_exc()
                raise SystemExit(f"error: the reports of {sweep} could not be combined") from error
        if failures:
            raise SystemExit(f"error: {len(failures)} of {total} jobs failed: {', '.join(failures)}; see above")


def _in_order(sweep: Path, name: str) -> Sequence[Path]:
    return sorted(sweep.glob(f"*/{name}"), key=lambda note: (len(note.parent.name), note.parent.name))
