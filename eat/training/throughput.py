"""Training speed side by side: our Lightning module and data path against the Hugging Face Trainer.

Both train the same random classifier on the same examples for one epoch, with the same batch size, optimiser settings,
clipping and precision, without evaluation, logging or saving. Only the epoch is timed, not what is set up before it.
The Trainer takes part twice: with its own random batches, and with the batches of like length that our sampler makes,
which are better grouped than its own would be on so few examples.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import lightning
import numpy as np
import torch
import transformers
from jaxtyping import Int
from torch.utils.data import DataLoader
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy
from transformers import BertTokenizer, DataCollatorWithPadding, PreTrainedConfig, PreTrainedModel, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from eat.data.collate import PackingCollator
from eat.data.sampler import EpochBatchSampler, epoch_batches
from eat.data.tokenized import TokenizedSplit
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.training.module import AdaptiveModule
from eat.training.objectives.joint import JointObjective
from eat.training.optimizer import adamw
from eat.training.schedule import PruningSchedule, linear_warmup_decay
from eat.training.trainer import build_trainer

TRAINER = "huggingface_trainer"
"""The baseline; ``_grouped`` has our batches."""

Epoch = Callable[[], float]
"""Trains for one epoch and returns the seconds that it took."""


def training_contenders(
    config: PreTrainedConfig,
    lengths: Int[np.ndarray, " examples"],
    *,
    batch_size: int = 32,
    bf16: bool = False,
    device: torch.device,
    seed: int = 0,
) -> Mapping[str, Epoch]:
    """Build the contenders, the baseline first; each keeps its weights from epoch to epoch.

    Args:
        config: Shape of the encoder; its weights are random.
        lengths: Tokens of each training example; as many as fill whole batches.
        batch_size: Examples in a batch.
        bf16: Train in mixed bfloat16 instead of float32.
        device: Where to train.
        seed: Of weights, tokens and order.

    Raises:
        ValueError: If the examples do not fill whole batches.
    """
    if len(lengths) == 0 or len(lengths) % batch_size:
        raise ValueError(f"lengths: expected a multiple of batch_size={batch_size} examples, got {len(lengths)}")
    split = _random_split(lengths, int(config.vocab_size), seed)
    model = AdaptiveForSequenceClassification.from_backbone(config, seed=seed)
    theirs, rows = model.to_hugging_face(), _rows(split)
    batches = epoch_batches(split.lengths, batch_size, seed=seed, epoch=0, group_by_length=True)
    grouped = [rows[number] for batch in batches for number in batch]
    run_theirs = partial(_their_epoch, theirs, batch_size=batch_size, bf16=bf16, device=device, seed=seed)
    return {
        TRAINER: partial(run_theirs, rows, sampling="random"),
        f"{TRAINER}_grouped": partial(run_theirs, grouped, sampling="sequential"),
        "eat": partial(_our_epoch, model, split, batch_size=batch_size, bf16=bf16, device=device, seed=seed),
    }


def _our_epoch(
    model: AdaptiveForSequenceClassification,
    split: TokenizedSplit,
    *,
    batch_size: int,
    bf16: bool,
    device: torch.device,
    seed: int,
) -> float:
    sampler = EpochBatchSampler(split.lengths, batch_size, seed=seed)
    loader: DataLoader[Any] = DataLoader(
        range(len(split)),  # type: ignore[arg-type]  # the collator turns numbers into tokens
        batch_sampler=sampler,
        collate_fn=PackingCollator(split),
    )
    module = AdaptiveModule(
        model,
        JointObjective(),
        optimizer=adamw,
        scheduler=partial(linear_warmup_decay, warmup_ratio=0.0),
        schedule=PruningSchedule(),
        metrics=MetricCollection({"accuracy": MulticlassAccuracy(2, average="micro")}),
        primary="accuracy",
        seed=seed,
    )
    clock = _LightningClock(device)
    trainer = build_trainer(
        accelerator=device.type,
        precision="bf16-mixed" if bf16 else "32-true",
        devices=1,
        max_epochs=1,
        gradient_clip_val=1.0,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(module, loader, loader)  # the second is never read: without one Lightning warns
    return clock.seconds


def _their_epoch(
    model: PreTrainedModel,
    rows: list[dict[str, Any]],
    *,
    batch_size: int,
    sampling: str,
    bf16: bool,
    device: torch.device,
    seed: int,
) -> float:
    clock = _TrainerClock(device)
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=batch_size,
            train_sampling_strategy=sampling,
            learning_rate=2e-5,
            weight_decay=0.01,
            max_grad_norm=1.0,
            optim="adamw_torch_fused",
            bf16=bf16,
            use_cpu=device.type == "cpu",
            dataloader_pin_memory=device.type != "cpu",
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=seed,
        )
        trainer = transformers.Trainer(
            model=model,
            args=arguments,
            train_dataset=rows,  # a list is a data set, and the fastest there is
            data_collator=DataCollatorWithPadding(_tokenizer()),
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.seconds


class _Clock:
    """Times one epoch; on a GPU it waits for what was launched."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = 0.0

    def start(self) -> None:
        self.seconds = -self._now()

    def stop(self) -> None:
        self.seconds += self._now()

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class _LightningClock(_Clock, lightning.Callback):
    """Times Lightning's epoch."""

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.start()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.stop()


class _TrainerClock(_Clock, transformers.TrainerCallback):
    """Times the Hugging Face Trainer's epoch."""

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.start()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.stop()


def _random_split(lengths: Int[np.ndarray, " examples"], vocab_size: int, seed: int) -> TokenizedSplit:
    generator = np.random.default_rng(seed)
    tokens = int(lengths.sum())
    return TokenizedSplit(
        input_ids=generator.integers(1, vocab_size, size=tokens),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        token_type_ids=np.zeros(tokens, dtype=np.int64),
        labels=generator.integers(0, 2, size=len(lengths)),
    )


def _rows(split: TokenizedSplit) -> list[dict[str, Any]]:
    """Give the same examples as a tokenizer hands them to the Trainer."""
    assert split.labels is not None
    spans = zip(split.offsets[:-1].tolist(), split.offsets[1:].tolist(), split.labels.tolist(), strict=True)
    return [
        {
            "input_ids": split.input_ids[start:end].tolist(),
            "token_type_ids": [0] * (end - start),
            "attention_mask": [1] * (end - start),
            "labels": label,
        }
        for start, end, label in spans
    ]


def _tokenizer() -> BertTokenizer:
    """Return a tokenizer that knows how BERT pads; the collator asks nothing else of it."""
    return BertTokenizer(vocab={word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])})
