"""Loggers: a CSV file that outlives interruptions, TensorBoard, and Weights & Biases."""

import csv
import io
import os
import re
import uuid
from argparse import Namespace
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from eat.checks import is_number_text
from eat.files import write_text
from eat.tables import read_csv


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
        self._rows |= _rows_before(self.path, step)

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


class RunWandb(WandbLogger):
    """One Weights & Biases run for a training: in its folder, under its name, finished when the training ends.

    The run's id is kept in the folder, and a continued training goes on under it. Offline W&B cannot add to a file that
    is there: the earlier one moves to ``wandb/earlier/``, and what ``metrics.csv`` has of it is logged once more, so
    that one file holds the whole curve.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        super().__init__(save_dir=folder, **options)

    @property
    def experiment(self) -> Any:
        """The run, which starts when it is first asked for."""
        if self._experiment is None:
            self._wandb_init["id"] = self._id = self._kept_id()
            if self._offline:
                self._set_aside()
        return super().experiment

    def resume(self, step: int) -> None:
        """Log the rows of the steps before ``step`` again where no server has them."""
        if self._offline:
            for number, row in _rows_before(self.folder / "metrics.csv", step).items():
                self.log_metrics({name: float(value) for name, value in row.items()}, number)

    def finalize(self, status: str) -> None:
        """Finish the run, however the training ended, so that no other training logs to it."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)

    def _kept_id(self) -> str:
        path = self.folder / "wandb" / "id.txt"
        if not path.is_file():
            write_text(path, uuid.uuid4().hex[:8])
        return path.read_text(encoding="utf-8").strip()

    def _set_aside(self) -> None:
        for before in (self.folder / "wandb").glob(f"offline-run-*-{self._id}"):
            earlier = before.parent / "earlier"
            earlier.mkdir(exist_ok=True)
            before.rename(earlier / before.name)


def tensorboard_logger(folder: str | Path) -> TensorBoardLogger:
    """Build the TensorBoard logger, which writes to ``tensorboard/`` in the run folder (``tensorboard --logdir``)."""
    _need("tensorboard")
    return TensorBoardLogger(save_dir=folder, name="tensorboard", version="")


def wandb_logger(folder: str | Path, project: str, name: str | None) -> RunWandb:
    """Build the Weights & Biases logger: online with a key, else offline, to be sent later by ``wandb sync``.

    The files go to ``wandb/`` in the run folder; ``name`` is the run's, in ``project``, and the folder's where None.
    """
    _need("wandb")
    import wandb  # an extra: only those who ask for it need it

    offline = os.environ.get("WANDB_MODE") in ("offline", "dryrun") or not wandb.api.api_key
    return RunWandb(Path(folder), project=project, name=name or Path(folder).resolve().name, offline=offline)


def _need(package: str) -> None:
    if find_spec(package) is None:
        raise ValueError(
            f"logger: expected one whose package is installed, got {package}; install it (pip install {package}), "
            "or choose logger=csv"
        )


def _rows_before(path: Path, step: int) -> dict[int, dict[str, str]]:
    """Read what ``metrics.csv`` has of the steps before ``step``; without the file there is nothing."""
    if not path.is_file():
        return {}
    remedy = "remove it: the curve then starts at the checkpoint, and the training goes on as it would"
    try:
        names, lines = read_csv(path)
    except ValueError as error:
        raise ValueError(f"{error}; {remedy}") from error
    if names.count("step") != 1 or len(set(names)) < len(names):
        raise ValueError(f"{path}: expected columns of different names, one of them 'step'; {remedy}")
    for line, row in enumerate(lines, 1):
        if not re.fullmatch(r"[0-9]{1,18}", row["step"]) or not all(map(is_number_text, filter(None, row.values()))):
            raise ValueError(f"{path}: row {line}: expected a step and numbers; {remedy}")
    rows = {int(row.pop("step")): {name: value for name, value in row.items() if value} for row in lines}
    return {number: row for number, row in rows.items() if number < step}
