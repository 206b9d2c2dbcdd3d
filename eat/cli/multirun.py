"""What a multirun ends with, of trainings and of evaluations alike: one combined table and figure."""

from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from eat.checks import folder_name
from eat.evaluation import combine

REPORT = "report.txt"


class CombinedReport(Callback):
    """Notes in each job's folder where its report is, and at the end combines the reports in the sweep's folder.

    The notes are files, so that launchers which run jobs in other processes work as well.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse an empty folder of runs before Hydra makes one for the sweep, which would be at the root."""
        if "paths" in config:
            try:
                folder_name("paths.runs", config.paths.runs)
            except ValueError as error:
                raise SystemExit(str(error)) from error  # of other errors in callbacks Hydra only warns

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Note the report of a job of a multirun."""
        if config.hydra.mode.name == "MULTIRUN" and job_return.status == JobStatus.COMPLETED:
            folder = Path(config.hydra.runtime.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / REPORT).write_text(f"{job_return.return_value.folder}\n", encoding="utf-8")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Combine what was noted, in the order of the jobs."""
        sweep = Path(config.hydra.sweep.dir)
        notes = sorted(sweep.glob(f"*/{REPORT}"), key=lambda note: (len(note.parent.name), note.parent.name))
        if notes:
            combine([note.read_text(encoding="utf-8").strip() for note in notes], sweep)
