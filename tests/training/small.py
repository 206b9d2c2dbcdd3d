"""A training of a second: random tokens, the first one decides the label. Run as a program, it can be killed."""

import sys
import time
from pathlib import Path

import torch
from lightning import Callback, LightningDataModule
from lightning.pytorch.callbacks import ProgressBar
from torch.utils.data import DataLoader, Sampler
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.training.checkpoints import LAST
from eat.training.loggers import MetricsCsv
from eat.training.module import AdaptiveModule
from eat.training.schedule import PruningSchedule
from eat.training.trainer import build_trainer
from tests.training.made import make_adamw, make_callbacks, make_objective, make_scheduler

EXAMPLES, BATCH = 22, 4


class Order(Sampler):
    """Batches in an order that follows from the epoch."""

    def __init__(self):
        self.epoch, self.skipped = 0, 0

    @property
    def sampler(self):
        return self  # where Lightning looks for set_epoch

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return -(-EXAMPLES // BATCH)

    def __iter__(self):
        order = torch.randperm(EXAMPLES, generator=torch.Generator().manual_seed(self.epoch)).tolist()
        batches = [order[i : i + BATCH] for i in range(0, EXAMPLES, BATCH)]
        skipped, self.skipped = self.skipped, 0
        yield from batches[skipped:]


class SmallData(LightningDataModule):
    """Sentences of 3 to 11 random tokens."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        lengths = torch.randint(3, 12, (EXAMPLES,), generator=generator).tolist()
        self.sentences = [torch.randint(3, 32, (length,), generator=generator) for length in lengths]
        self.order = Order()

    def resume_at(self, epoch, batches):
        self.order.epoch, self.order.skipped = epoch, batches

    def collate(self, indices):
        sentences = [self.sentences[i] for i in indices]
        return {
            "input_ids": torch.cat(sentences),
            "lengths": torch.tensor([len(s) for s in sentences]),
            "labels": torch.tensor([int(s[0]) % 2 for s in sentences]),
            "example": torch.tensor(indices),
        }

    def train_dataloader(self):
        return DataLoader(range(EXAMPLES), batch_sampler=self.order, collate_fn=self.collate)

    def val_dataloader(self):
        return DataLoader(range(EXAMPLES), batch_size=8, collate_fn=self.collate)


def make_module(pruner="l2_norm", objective=None, lr=1e-2, head_depths=(2,), dropout=0.1, best="accuracy", **options):
    part = {"name": "none"} if pruner == "none" else {"name": pruner, "depths": [1], "ratio": 0.4}
    model = AdaptiveForSequenceClassification.from_backbone(
        tiny_config(vocab_size=32, dim=16, num_layers=3, dropout=dropout), pruner=part, head_depths=head_depths, seed=0
    )
    return AdaptiveModule(
        model,
        objective or make_objective("joint"),
        optimizer=make_adamw(lr),
        scheduler=make_scheduler,
        schedule=PruningSchedule(0.5, 1.0),
        metrics=MetricCollection({"accuracy": MulticlassAccuracy(2, average="micro")}),
        best=best,
        **options,
    )


def fit(
    folder,
    *callbacks,
    module=None,
    objective=None,
    compression=None,
    data=None,
    every_n_steps=2,
    max_epochs=3,
    patience=5,
    **trainer_options,
):
    """Train in a folder, from its last checkpoint where there is one; return module, checkpoints and stopping."""
    folder = Path(folder)
    module = module or make_module(objective=objective, **({"compression": compression} if compression else {}))
    checkpoints, stopping = make_callbacks(every_n_steps, patience)
    trainer = build_trainer(
        accelerator="cpu",
        precision="32-true",
        threads=None,
        max_epochs=max_epochs,
        logger=False,
        callbacks=[checkpoints, stopping, *callbacks],
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        default_root_dir=folder,
        **trainer_options,
    )
    if trainer.is_global_zero:  # as a run's training does
        trainer.loggers = [MetricsCsv(folder)]
    last = folder / "checkpoints" / LAST
    trainer.fit(module, data or SmallData(), ckpt_path=last if last.exists() else None, weights_only=True)
    return module, checkpoints, stopping


class Slowly(Callback):
    """Gives the parent time to kill."""

    def on_train_batch_end(self, *_):
        time.sleep(0.03)


if __name__ == "__main__":
    torch.set_num_threads(1)
    fit(sys.argv[1], Slowly(), max_epochs=6)
