"""Progress bars at a terminal, lines in log files."""

import math
import sys
import time
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar

from eat.checks import duration, number

_SHOWN = ("train/loss", "train/accuracy", "train/retention")


class TimeLeft:
    """Tells how long a training will take at most, by the optimiser steps taken since `start`; validations count in."""

    def __init__(self) -> None:
        self._time, self._step = 0.0, 0

    def start(self, step: int) -> None:
        """Start the clock, at the step that a training goes on from."""
        self._time, self._step = time.monotonic(), step

    def __call__(self, step: int, total_steps: int | float) -> str:
        """Return the time that is left at most, for people; a dash before there is a step to tell by."""
        taken = step - self._step
        if taken == 0 or not math.isfinite(total_steps):
            return "-"
        return duration((time.monotonic() - self._time) / taken * max(0.0, total_steps - step))


class RunBar(TQDMProgressBar):
    """Lightning's bar with the run's name, and the time that the whole training takes at most."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=10)
        self._time_left = TimeLeft()

    def on_train_start(self, *args: Any) -> None:
        """Start the clock."""
        super().on_train_start(*args)
        self._time_left.start(args[0].global_step)

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        """Name the run and the epoch."""
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description(f"{run_name(trainer)} {_epoch(trainer)}")

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return what the bar shows at its end."""
        shown = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)  # Lightning's number of a logger's folder, of which a run has none
        left = self._time_left(trainer.global_step, trainer.estimated_stepping_batches)
        return {"at most left": left, **shown}


class ProgressLines(ProgressBar):
    """Prints a line every ``every_s`` seconds or more, for log files, where a bar that is redrawn is a mess."""

    def __init__(self, every_s: float) -> None:
        super().__init__()
        self.every_s = every_s
        self._last_time = 0.0
        self._last_step = 0
        self._time_left = TimeLeft()

    def disable(self) -> None:
        """Print nothing: Lightning's wish for all processes but the first."""
        self.every_s = float("inf")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._last_time, self._last_step = time.monotonic(), trainer.global_step
        self._time_left.start(trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print a line if it is time."""
        now = time.monotonic()
        if now - self._last_time < self.every_s or self.every_s == float("inf"):
            return
        rate = (trainer.global_step - self._last_step) / (now - self._last_time)
        measured = ((name.removeprefix("train/"), trainer.callback_metrics.get(name)) for name in _SHOWN)
        values = " ".join(f"{name} {'-' if value is None else f'{float(value):.3f}'}" for name, value in measured)
        place = f"{_epoch(trainer)} batch {batch_idx + 1}/{trainer.num_training_batches}"
        left = self._time_left(trainer.global_step, trainer.estimated_stepping_batches)
        print(f"{run_name(trainer)}: {place} {values} ({rate:.1f} steps/s, at most {left} left)", flush=True)
        self._last_time, self._last_step = now, trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print what validation found."""
        found = [f"{name} {float(v):.4f}" for name, v in trainer.callback_metrics.items() if name.startswith("val/")]
        if self.every_s != float("inf"):
            print(f"{run_name(trainer)}: {_epoch(trainer)} {' '.join(found)}", flush=True)


def run_name(trainer: Trainer) -> str:
    """Return the name of the folder that the run goes to."""
    return Path(trainer.default_root_dir).name


def _epoch(trainer: Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"


def progress_bar(every_s: float) -> ProgressBar:
    """Build a bar for a terminal, else lines, with at least ``every_s`` seconds between two."""
    number("callbacks.progress.every_s", every_s, at_least=0)
    return RunBar() if sys.stderr.isatty() else ProgressLines(every_s)
