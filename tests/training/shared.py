"""Trainings that two processes share, and what came of them; run as a program it is one of the two.

The batches are those of eat's sampler. None parts evenly, and of one an epoch, of a single example, a process has none.
"""

import csv
import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from lightning import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader

from eat.data.sampler import EpochBatchSampler, batches_in_order
from eat.training.objectives.depth_weighted import DepthWeightedObjective
from tests.training.made import make_compression, make_objective
from tests.training.small import SmallData, fit, make_module

EXAMPLES, BATCH = 21, 5


class FixedTeacher:
    """Gives logits that follow from the first token of each sequence."""

    def __call__(self, batch):
        starts = batch["lengths"].cumsum(0) - batch["lengths"]
        return torch.nn.functional.one_hot(batch["input_ids"][starts] % 2, 2).float() * 3


OBJECTIVES = {
    "joint": ("joint", {}),
    "self_distill": ("joint", {"self_weight": 0.5}),
    "distill": ("joint", {"teacher": FixedTeacher()}),
    "depth_weighted": ("depth_weighted", {}),
    "alternating": ("alternating", {}),
    "soft_routing": ("soft_routing", {}),
    "two_stage": ("two_stage", {}),
    "two_stage_distill": ("two_stage_distill", {}),
}
"""File of conf/objective -> the one that it is made of, and its changes."""
MORE = {
    "accumulated": {"accumulate_grad_batches": 2},
    "validated_often": {"val_check_interval": 0.34},
    "compressed": {"compression": make_compression("magnitude")},
}
"""Options of further trainings of the first."""


class SharedData(SmallData):
    """The small data, shared out among the processes of the trainer."""

    def __init__(self):
        super().__init__()
        self.sentences = self.sentences[:EXAMPLES]
        self.position = (0, 0)

    @property
    def process(self):
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}

    def resume_at(self, epoch, batches):
        self.position = (epoch, batches)

    def train_dataloader(self):
        lengths = torch.tensor([len(sentence) for sentence in self.sentences]).numpy()
        sampler = EpochBatchSampler(lengths, BATCH, **self.process)
        sampler.start_at(*self.position)
        return DataLoader(range(EXAMPLES), batch_sampler=sampler, collate_fn=self.collate)

    def val_dataloader(self):
        batches = batches_in_order(EXAMPLES, 8, **self.process)
        return DataLoader(range(EXAMPLES), batch_sampler=batches, collate_fn=self.collate)


class KilledError(Exception):
    pass


class At(Callback):
    """Does something after a step."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_train_start(self, trainer, *_):
        self.trainer = trainer

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            self.act(trainer)


def die(trainer):
    raise KilledError


def terminate_second(trainer):
    if trainer.global_rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)


class Broken(DepthWeightedObjective):
    """Gives no number for the example of number 13."""

    def __call__(self, all_logits, batch, phase):
        loss, parts = super().__call__(all_logits, batch, phase)
        return (loss * float("nan") if 13 in batch["example"] else loss), parts


def train(folder, *callbacks, objective=None, compression=None, **options):
    """Train without dropout, in which processes differ, and with rounding that Adam does not blow up."""
    more = {"compression": compression} if compression else {}
    module = make_module(objective=objective or make_objective("joint"), dropout=0.0, lr=1e-3, **more)
    return fit(folder, *callbacks, module=module, data=SharedData(), max_epochs=2, **options)


def train_all(folder, **options):
    """Train with each objective, and as `MORE` says."""
    for name, (made_of, changes) in OBJECTIVES.items():
        note(train(folder / name, objective=make_objective(made_of, **changes), **options), folder / name)
    for name, more in MORE.items():
        note(train(folder / name, **more, **options), folder / name)


def note(result, folder):
    """Write down what a training ended with."""
    module, checkpoints, stopping = result
    weights = {name: weight.detach().clone() for name, weight in module.model.state_dict().items()}
    facts = {
        "best": (checkpoints.best_score, checkpoints.best_step),
        "stopping": (stopping.wait_count, float(stopping.best_score)),
        "steps": module.trainer.global_step,
        "epochs": module.trainer.current_epoch,
        "learning_rate": module.trainer.optimizers[0].param_groups[0]["lr"],
    }
    torch.save({"weights": weights, "facts": facts}, folder / f"end{module.global_rank}.pt")


def noted(folder, rank=0):
    """Return what was written down by a process."""
    return torch.load(folder / f"end{rank}.pt", weights_only=True)


def rows(folder):
    """Return the rows of a training's log as numbers."""
    with (folder / "metrics.csv").open(newline="") as handle:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(handle)]


def main(folder):
    """Train as one of two processes; tell how what had to fail did."""
    together = {"devices": 2}
    train_all(folder / "two", **together)
    note(train(folder / "resumed_by_two", **together), folder / "resumed_by_two")
    told = {}
    for name, error, callback, objective in (
        ("killed", KilledError, At(4, die), None),
        ("no_number", FloatingPointError, At(-1, die), Broken()),
        ("stopped", SIGTERMException, At(3, terminate_second), None),
    ):
        try:
            train(folder / name, callback, objective=objective, **together)
        except error as raised:
            told[name] = [callback.trainer.global_step, str(raised)]
    (folder / f"told{dist.get_rank()}.json").write_text(json.dumps(told))
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
