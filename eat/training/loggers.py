"""Loggers: a CSV file that outlives interruptions, TensorBoard, and Weights & Biases."""

import csv
import io
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from eat.files import write_text


class MetricsCsv(Logger):
    """Writes one row per logged step to ``metrics.csv`` in the run folder, and goes on in that file after a resumption.

    Columns stand in alphabetical order. Lightning's CSVLogger deletes the rows of an interrupted training; this one
    keeps those up to the checkpoint and drops the later ones, which are trained again.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._rows: dict[int, dict[str, str]] = {}

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "csv"

    @property
    def version(self) -> int:
        """One run, one version."""
        return 0

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run's config.yaml holds them."""

    def log_metrics(self, metrics: Mapping[str, float | int], step: int | None = None) -> None:
        """Add numbers to the row of a step."""
        row = self._rows.setdefault(step or 0, {})
        row.update({name: f"{value:.7g}" for name, value in metrics.items()})

    def resume(self, step: int) -> None:
        """Take over the file's rows of the steps before ``step``."""
        if not self.path.is_file():
            return
        with self.path.open(newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle):
                number = int(row.pop("step"))
                if number < step:
                    self._rows[number] = {name: value for name, value in row.items() if value}

    def save(self) -> None:
        """Write the file; without a row there is nothing to say, and an earlier file may be there to resume."""
        if not self._rows:
            return
        names = sorted({name for row in self._rows.values() for name in row})
        text = io.StringIO()
        writer = csv.DictWriter(text, ["step", *names], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({"step": step, **self._rows[step]} for step in sorted(self._rows))
        write_text(self.path, text.getvalue())

    def finalize(self, status: str) -> None:
        """Write the file once more at the end, whatever the end."""
        self.save()


def tensorboard_logger(folder: str | Path) -> TensorBoardLogger:
    """Build the TensorBoard logger, which writes to ``tensorboard/`` in the run folder (``tensorboard --logdir``)."""
    return TensorBoardLogger(save_dir=folder, name="tensorboard", version="")


def wandb_logger(folder: str | Path, project: str, name: str | None) -> WandbLogger:
    """Build the Weights & Biases logger: online with a key, else offline, to be sent later by ``wandb sync``.

    The files go to ``wandb/`` in the run folder; ``name`` is the run's, in ``project``.
    """
    import wandb  # an extra: only those who ask for it need it

    Path(folder).mkdir(parents=True, exist_ok=True)
    return WandbLogger(save_dir=folder, project=project, name=name, offline=not wandb.api.api_key)
