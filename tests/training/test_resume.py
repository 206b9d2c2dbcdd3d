"""A training that was killed at any moment and resumed ends as one left alone, bit for bit."""

import itertools
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning import Callback

from tests.training.made import CONF, make_compression, make_objective
from tests.training.small import fit

COMPRESSIONS = [make_compression(path.stem) for path in sorted((CONF / "compression").glob("*.yaml"))]
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


# 6 steps an epoch (3 where two batches make a step); validation after each epoch, or in the middle of it as well. One
# training is killed at all of the moments in turn: what one kill spoils, no later one can mend.
@pytest.mark.parametrize(
    ("kills", "options"),
    [
        # The first is before the first checkpoint.
        (((1, "batch"), (5, "batch"), (6, "validation"), (6, "epoch"), (9, "batch"), (18, "validation")), {}),
        (((8, "batch"), (10, "validation")), {"val_check_interval": 0.34}),
        (((5, "batch"),), {"accumulate_grad_batches": 2}),
        # With a limit of steps each goes on from an epoch's end, or near it.
        (((7, "batch"), (12, "epoch"), (13, "batch")), {"max_steps": 18, "max_epochs": 9}),
        (((9, "batch"),), {"objective": make_objective("alternating")}),
        # The second stage starts at step 9: killed in the first, at the border, and in the second.
        (((7, "batch"), (9, "batch"), (12, "epoch")), {"objective": make_objective("two_stage"), "every_n_steps": 1}),
        (((13, "batch"),), {"objective": make_objective("two_stage_distill")}),
        (((5, "batch"),), {"objective": make_objective("two_stage_distill"), "accumulate_grad_batches": 2}),
        *((((7, "batch"), (12, "epoch")), {"compression": part}) for part in COMPRESSIONS),
    ],
)
def test_an_interrupted_training_ends_as_one_left_alone(tmp_path, kills, options):
    alone = fit(tmp_path / "alone", **options)
    for kill in kills:
        with pytest.raises(KilledError):
            fit(tmp_path / "killed", KillAt(*kill), **options)
    for _ in ("resumed", "killed after its end: the model was not written yet, so the same command comes again"):
        resumed, expected = state(fit(tmp_path / "killed", **options)), state(alone)
        if "max_steps" in options:  # the epoch that this ends is counted by who trained in it alone
            resumed["epochs"] = expected["epochs"]
        torch.testing.assert_close(resumed, expected, rtol=0, atol=0)
        assert metrics(tmp_path / "killed") == metrics(tmp_path / "alone")


def test_a_checkpoint_is_there_after_the_first_step_and_after_some_time(tmp_path, monkeypatch):
    last = tmp_path / "checkpoints" / "last.ckpt"
    with pytest.raises(KilledError):
        fit(tmp_path, KillAt(2, "batch"), every_n_steps=100)
    assert torch.load(last, weights_only=True)["global_step"] == 1
    monkeypatch.setattr("eat.training.checkpoints.time.monotonic", itertools.count(0.0, 601.0).__next__)
    with pytest.raises(KilledError):
        fit(tmp_path, KillAt(4, "batch"), every_n_steps=100)
    assert torch.load(last, weights_only=True)["global_step"] in (3, 4)


def test_a_training_killed_after_its_early_end_stays_ended(tmp_path):
    options = {"max_epochs": 10, "patience": 1}
    first = state(fit(tmp_path, **options))
    assert first["epochs"] < 10
    torch.testing.assert_close(state(fit(tmp_path, **options)), first, rtol=0, atol=0)


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"PK half a checkpoint")
    with pytest.raises(ValueError, match=r"last.ckpt is no readable checkpoint .* fresh=true"):
        fit(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_process_killed_at_any_moment_is_resumed(tmp_path):
    process = subprocess.Popen([sys.executable, "-m", "tests.training.small", str(tmp_path / "killed")], cwd=ROOT)
    try:
        last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
        while not last.exists():
            assert process.poll() is None, "the training ended before its first checkpoint"
            time.sleep(0.01)
        time.sleep(random.Random(0).uniform(0.0, 1.0))
    finally:
        process.kill()
        assert process.wait() == -9, "the training ended before it was killed"
    resumed, alone = (state(fit(tmp_path / name, max_epochs=6)) for name in ("killed", "alone"))
    torch.testing.assert_close(resumed, alone, rtol=0, atol=0)
