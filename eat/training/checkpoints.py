"""Checkpoints that survive a kill: written whole or not at all, and only where a resumed training ends the same."""

import logging
import math
import sys
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from torch import Tensor

from eat.checks import number, whole_number
from eat.files import replacing
from eat.runs.outcome import Outcome
from eat.training.distributed import in_any_process, is_stopping
from eat.training.loggers import MetricsCsv, RunWandb
from eat.training.module import ANEW, AdaptiveModule, check_weights

log = logging.getLogger(__name__)

FOLDER, LAST, BEST = "checkpoints", "last.ckpt", "best.ckpt"
RESUMED = {"state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "epoch", "global_step"}
"""What a training needs to go on, and Lightning's own version."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically, beside their place.

    Lightning's own writer moves them from the system's temporary folder, which to another file system is a copy that a
    kill can cut short; and it does not wait for the disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; where that fails, an older file of this name is untouched."""
        with replacing(Path(path)) as partial, partial.open("wb") as handle:
            try:
                torch.save(checkpoint, handle)
            except RuntimeError as error:  # torch's archive writer hides what the file said behind one about positions
                raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a checkpoint, as data: nothing that is pickled in it is executed, whatever the caller asks for.

        Raises:
            ValueError: If the file is damaged, or no checkpoint of such a training.
        """
        with _readable(path):
            loaded = super().load_checkpoint(path, *args, **kwargs | {"weights_only": True})
        return _need(loaded, RESUMED, path)


class RunCheckpoints(Checkpoint):
    """Keeps the last state and the best model of a run.

    The last state is written after the first step, then every so many optimiser steps or minutes, at each epoch's end,
    and on SIGTERM.

    The best has the best value of the module's selecting metric in validation, the earlier of equal ones, counted
    only once pruning and compression are final. The last state is never written between a step and the validation
    that belongs to it: a training resumed from there would skip that validation.

    Both go to ``checkpoints/`` in the trainer's ``default_root_dir``, the run folder.
    """

    def __init__(self, every_n_steps: int, every_minutes: float = 10.0) -> None:
        self.every_n_steps = whole_number("callbacks.checkpoints.every_n_steps", every_n_steps)
        self.every_minutes = number("callbacks.checkpoints.every_minutes", every_minutes, above=0)
        self._saved_at = time.monotonic()
        self.best_score: float | None = None
        self.best_step: int | None = None
        self._saved_step = 0
        self._position = (0, 0)  # epoch, and batches of it that are done

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let the data go on where the checkpoint stands, before anything asks for a batch."""
        if self.state_key not in checkpoint["callbacks"]:
            raise ValueError(f"{LAST} was written by a training without {self.state_key}; {ANEW}")
        epoch, batches = checkpoint["callbacks"][self.state_key]["position"]
        log.info(
            "continuing at step %d: epoch %d, %d batches of it done", checkpoint["global_step"], epoch + 1, batches
        )
        trainer.datamodule.resume_at(epoch, batches)  # type: ignore[attr-defined]
        # Lightning knows one way to resume data, a stateful loader, and warns about ours, which is told its position.
        warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let what was logged go on where the checkpoint stands, and start the clock."""
        self._saved_at = time.monotonic()
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCsv | RunWandb):
                logger.resume(trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the last state when it is due and nothing else belongs to this step."""
        since = trainer.global_step - self._saved_step
        passed = trainer.global_step // self.every_n_steps > self._saved_step // self.every_n_steps
        late = time.monotonic() - self._saved_at >= 60 * self.every_minutes
        if trainer.world_size > 1:  # whose clocks differ, and all take part in writing
            late = in_any_process(late, trainer)
        urgent = late or is_stopping(trainer)
        due = passed or (since > 0 and (urgent or self._saved_step == 0))
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        validates = trainer.val_check_batch is not None and (batch_idx + 1) % trainer.val_check_batch == 0
        ends_epoch = batch_idx + 1 == trainer.num_training_batches
        if due and stepped and not validates and not ends_epoch:
            self._save_last(trainer, position=(trainer.current_epoch, batch_idx + 1))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the model if it is the best so far."""
        assert isinstance(pl_module, AdaptiveModule)
        if trainer.sanity_checking or not pl_module.validation_counts:
            return
        score = float(trainer.callback_metrics[pl_module.monitored])
        if math.isnan(score):  # a correlation with constant predictions
            return
        sign = -1 if pl_module.lower_is_better else 1
        if self.best_score is None or sign * score > sign * self.best_score:
            self.best_score, self.best_step = score, trainer.global_step
            trainer.save_checkpoint(Path(trainer.default_root_dir) / FOLDER / BEST, weights_only=True)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last state after the epoch and its validation."""
        self._save_last(trainer, position=(trainer.current_epoch + 1, 0))

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training must know of the best model."""
        best = {"best_score": self.best_score, "best_step": self.best_step}
        return best | {"saved_step": self._saved_step, "position": self._position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where ``state_dict`` left."""
        self.best_score, self.best_step = state_dict["best_score"], state_dict["best_step"]
        self._saved_step, self._position = state_dict["saved_step"], state_dict["position"]

    def _save_last(self, trainer: Trainer, position: tuple[int, int]) -> None:
        self._saved_step, self._position, self._saved_at = trainer.global_step, position, time.monotonic()
        trainer.save_checkpoint(Path(trainer.default_root_dir) / FOLDER / LAST, weights_only=False)


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """Say in one line that a file is no checkpoint."""
    try:
        yield
    except Exception as error:  # torch's unpickler reads on in what is no pickle, and stumbles over anything
        raise ValueError(f"{path} is no readable checkpoint ({type(error).__name__}); {ANEW}") from error


def _need(loaded: Any, needed: Collection[str], path: str | Path) -> dict[str, Any]:
    missing = sorted(set(needed) - set(loaded if isinstance(loaded, dict) else ()))
    if missing or not all(isinstance(value, Tensor) for value in _values(loaded["state_dict"])):
        what = f"it lacks {', '.join(missing)}" if missing else "its state_dict holds other things than tensors"
        raise ValueError(f"{path} is no checkpoint of a training: {what}; {ANEW}")
    return dict(loaded)


def _values(weights: Any) -> Collection[Any]:
    return weights.values() if isinstance(weights, Mapping) else [weights]


def load_best(trainer: Trainer) -> Outcome:
    """Give the trained module the weights of its best validation, and say how the training ended.

    The weights that it has are the best where no validation was counted.
    """
    module = trainer.lightning_module
    assert isinstance(module, AdaptiveModule)
    best_step, best_value, stopped_early = None, None, None
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set by one of its connectors
        if isinstance(callback, AnnealedEarlyStopping):
            stopped_early = callback.why_stopped
        elif isinstance(callback, RunCheckpoints) and callback.best_step is not None:
            best_step, best_value = callback.best_step, callback.best_score
            path = Path(trainer.default_root_dir) / FOLDER / BEST
            with _readable(path):
                best = torch.load(path, map_location="cpu", weights_only=True)
            check_weights(module, _need(best, {"state_dict"}, path), path)
            module.load_state_dict(best["state_dict"], strict=module.strict_loading)
            log.info("the best model is that of step %d: %s %.4f", best_step, module.monitored, best_value)
    return Outcome(
        steps=trainer.global_step,
        epochs=trainer.current_epoch,
        metric=module.monitored.removeprefix("val/"),
        best_step=best_step,
        best_value=best_value,
        stopped_early=stopped_early,
        class_weights=_weights_by_name(module),
    )


def _weights_by_name(module: AdaptiveModule) -> dict[str, float] | None:
    weights = getattr(module.objective, "class_weights", None)  # which a part of another package need not have
    names = (module.model.config.id2label or {}).values()
    return None if weights is None else dict(zip(names, weights, strict=True))


class AnnealedEarlyStopping(EarlyStopping):
    """Lightning's early stopping on the metric that selects the best model, which says why it stopped.

    It is blind where ``AdaptiveModule.validation_counts`` is false. ``patience`` counts validations without a gain of
    more than ``min_delta``; None never stops. At 0 the first without a gain ends the training, as at 1.
    """

    def __init__(self, patience: int | None, min_delta: float) -> None:
        if patience is not None:
            whole_number("callbacks.early_stopping.patience", patience, at_least=0)
        number("callbacks.early_stopping.min_delta", min_delta, at_least=0)
        # Lightning counts before it compares, so that 0 is 1 there; here it would be reached before the first step.
        waits = sys.maxsize if patience is None else max(1, patience)
        # A correlation with constant predictions is not a number, and no reason to stop.
        super().__init__("val/best", min_delta, waits, mode="max", check_finite=False, check_on_train_epoch_end=False)
        self.why_stopped: str | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Learn the metric's name and direction, before the state of a resumed training is read."""
        assert isinstance(pl_module, AdaptiveModule)
        self.monitor = pl_module.monitored
        if pl_module.lower_is_better and self.mode == "max":
            self.mode, self.min_delta, self.best_score = "min", -self.min_delta, -self.best_score
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stay stopped if the training was killed after it had stopped."""
        trainer.should_stop = self.wait_count >= self.patience
        if trainer.should_stop:
            self._say_why()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count this validation if it tells anything."""
        assert isinstance(pl_module, AdaptiveModule)
        if pl_module.validation_counts:
            super().on_validation_end(trainer, pl_module)
            if trainer.should_stop and self.wait_count >= self.patience:
                self._say_why()

    def _say_why(self) -> None:
        word = "validation" if self.wait_count == 1 else f"{self.wait_count} validations"
        least = f" by more than {abs(self.min_delta):g}" if self.min_delta else ""
        self.why_stopped = (
            f"stopped early: the last {word} did not better {self.monitor} {float(self.best_score):.4f}{least} "
            f"(callbacks.early_stopping.patience={self.patience})"
        )
        log.info(self.why_stopped)
