"""Progress bars at a terminal, lines in log files."""

import sys
import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar

from eat.checks import number

_SHOWN = ("train/loss", "train/accuracy", "train/retention")


class ProgressLines(ProgressBar):
    """Prints a line every ``every_s`` seconds or more, for log files, where a bar that is redrawn is a mess."""

    def __init__(self, every_s: float) -> None:
        super().__init__()
        self.every_s = every_s
        self._last_time = 0.0
        self._last_step = 0

    def disable(self) -> None:
        """Print nothing: Lightning's wish for all processes but the first."""
        self.every_s = float("inf")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._last_time, self._last_step = time.monotonic(), trainer.global_step

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
        print(f"{place} {values} ({rate:.1f} steps/s)", flush=True)
        self._last_time, self._last_step = now, trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print what validation found."""
        found = [f"{name} {float(v):.4f}" for name, v in trainer.callback_metrics.items() if name.startswith("val/")]
        if self.every_s != float("inf"):
            print(f"{_epoch(trainer)} {' '.join(found)}", flush=True)


def _epoch(trainer: Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"


def progress_bar(every_s: float) -> ProgressBar:
    """Build a bar for a terminal, else lines, with at least ``every_s`` seconds between two."""
    number("callbacks.progress.every_s", every_s, at_least=0)
    return TQDMProgressBar(refresh_rate=10) if sys.stderr.isatty() else ProgressLines(every_s)
