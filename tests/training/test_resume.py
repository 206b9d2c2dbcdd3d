"""A training that was killed at any moment and resumed ends as one left alone, bit for bit."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning import Callback

from eat.training.objectives.alternating import AlternatingObjective
from eat.training.objectives.two_stage import TwoStageObjective
from eat.training.objectives.two_stage_distill import TwoStageDistillObjective
from tests.training.small import fit

ROOT = Path(__file__).parents[2]


class KilledError(Exception):
    pass


class KillAt(Callback):
    """Dies at a step: after the batch, in the middle of its validation, or at the epoch's end."""

    def __init__(self, step, moment):
        self.step, self.moment = step, moment

    def _die(self, trainer, moment):
        if (trainer.global_step, moment) == (self.step, self.moment):
            raise KilledError

    def on_train_batch_end(self, trainer, *_):
        self._die(trainer, "batch")

    def on_validation_batch_end(self, trainer, *_):
        self._die(trainer, "validation")

    def on_train_epoch_end(self, trainer, *_):
        self._die(trainer, "epoch")


def state(result):
    module, checkpoints, stopping = result
    return {
        "weights": module.model.state_dict(),
        "optimizer": module.trainer.optimizers[0].state_dict()["state"],
        "learning_rate": module.trainer.optimizers[0].param_groups[0]["lr"],
        "best": (checkpoints.best_score, checkpoints.best_step),
        "stopping": (stopping.wait_count, stopping.best_score),
        "steps": module.trainer.global_step,
        "epochs": module.trainer.current_epoch,
    }


def metrics(folder):
    return (folder / "metrics.csv").read_text()


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    """Return a function that gives state and metrics of an uninterrupted training; each is run once."""
    known = {}

    def run(**options):
        key = str(options)
        if key not in known:
            folder = tmp_path_factory.mktemp("alone")
            known[key] = state(fit(folder, **options)), metrics(folder)
        return known[key]

    return run


# 6 steps an epoch (3 where two batches make a step); validation after each epoch, or in the middle of it as well.
@pytest.mark.parametrize(
    ("step", "moment", "options"),
    [
        (1, "batch", {}),  # before the first checkpoint
        (5, "batch", {}),
        (6, "validation", {}),
        (6, "epoch", {}),
        (9, "batch", {}),
        (18, "validation", {}),
        (8, "batch", {"val_check_interval": 0.34}),
        (10, "validation", {"val_check_interval": 0.34}),
        (5, "batch", {"accumulate_grad_batches": 2}),
        (9, "batch", {"objective": AlternatingObjective()}),
        # The second stage starts at step 9: killed in the first, at the border, and in the second.
        (7, "batch", {"objective": TwoStageObjective()}),
        (9, "batch", {"objective": TwoStageObjective(), "every_n_steps": 1}),
        (12, "epoch", {"objective": TwoStageObjective()}),
        (13, "batch", {"objective": TwoStageDistillObjective()}),
        (5, "batch", {"objective": TwoStageDistillObjective(), "accumulate_grad_batches": 2}),
    ],
)
def test_an_interrupted_training_ends_as_one_left_alone(tmp_path, left_alone, step, moment, options):
    expected, expected_metrics = left_alone(**options)
    with pytest.raises(KilledError):
        fit(tmp_path, KillAt(step, moment), **options)
    torch.testing.assert_close(state(fit(tmp_path, **options)), expected, rtol=0, atol=0)
    assert metrics(tmp_path) == expected_metrics


@pytest.mark.parametrize("options", [{}, {"max_epochs": 10, "patience": 1}])
def test_a_training_killed_after_its_end_stays_ended(tmp_path, options):
    """Stopped early or not: the model was not written yet, so the same command comes again."""
    first = state(fit(tmp_path, **options))
    torch.testing.assert_close(state(fit(tmp_path, **options)), first, rtol=0, atol=0)


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"PK half a checkpoint")
    with pytest.raises(ValueError, match=r"last.ckpt is no readable checkpoint .* fresh=true"):
        fit(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_process_killed_at_a_random_moment_is_resumed(tmp_path, left_alone):
    process = subprocess.Popen([sys.executable, "-m", "tests.training.small", str(tmp_path)], cwd=ROOT)
    try:
        last = tmp_path / "checkpoints" / "last.ckpt"
        while not last.exists():
            assert process.poll() is None, "the training ended before its first checkpoint"
            time.sleep(0.01)
        time.sleep(random.SystemRandom().uniform(0.0, 1.0))
    finally:
        process.kill()
        assert process.wait() == -9, "the training ended before it was killed"
    expected, _ = left_alone(max_epochs=6)
    torch.testing.assert_close(state(fit(tmp_path, max_epochs=6)), expected, rtol=0, atol=0)
