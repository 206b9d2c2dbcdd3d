"""Training speed side by side: our Lightning module and data path against the Hugging Face Trainer.

Both train the same random classifier on the same examples for one epoch, with the same batch size, optimiser settings,
clipping and precision, without evaluation, logging or saving. Only the epoch is timed, not what is set up before it.
The Trainer takes part twice: with its own random batches, and with the batches of like length that our sampler makes,
which are better grouped than its own would be on so few examples.
"""

import dataclasses
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
from eat.training.objectives.depth_weighted import DepthWeightedObjective
from eat.training.optimizer import adamw
from eat.training.schedule import PruningSchedule, linear_warmup_decay
from eat.training.trainer import build_trainer

TRAINER = "huggingface_trainer"
"""The baseline; ``_grouped`` has our batches."""

Epoch = Callable[[], float]
"""Trains for one epoch and returns the seconds that it took."""

LR, WEIGHT_DECAY, CLIP = 2e-5, 0.01, 1.0
BETAS, EPS = (0.9, 0.999), 1e-8  # the Trainer's own


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
    how = _How(batch_size, bf16, device, seed)
    return {
        TRAINER: partial(_their_epoch, theirs, rows, how=how, sampling="random"),
        f"{TRAINER}_grouped": partial(_their_epoch, theirs, grouped, how=how, sampling="sequential"),
        "eat": partial(_our_epoch, model, split, how=how),
    }


@dataclasses.dataclass(frozen=True)
class _How:
    """What the contenders have in common."""

    batch_size: int
    bf16: bool
    device: torch.device
    seed: int


def _our_epoch(model: AdaptiveForSequenceClassification, split: TokenizedSplit, *, how: _How) -> float:
    loader: DataLoader[Any] = DataLoader(
        range(len(split)),  # type: ignore[arg-type]  # the collator turns numbers into tokens
        batch_sampler=EpochBatchSampler(split.lengths, how.batch_size, seed=how.seed),
        collate_fn=PackingCollator(split),
    )
    module = AdaptiveModule(
        model,
        DepthWeightedObjective(),  # of one head, as here: the plain cross-entropy
        optimizer=partial(adamw, lr=LR, weight_decay=WEIGHT_DECAY, betas=BETAS, eps=EPS),
        scheduler=partial(linear_warmup_decay, warmup_ratio=0.0),
        schedule=PruningSchedule(0.0, 0.0),
        metrics=MetricCollection({"accuracy": MulticlassAccuracy(2, average="micro")}),
        primary="accuracy",
        seed=how.seed,
    )
    clock = _LightningClock(how.device)
    trainer = build_trainer(
        accelerator=how.device.type,
        precision="bf16-mixed" if how.bf16 else "32-true",
        threads=None,
        devices=1,
        max_epochs=1,
        gradient_clip_val=CLIP,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(module, loader, loader)  # the second is never read: without one Lightning warns
    return clock.seconds


def _their_epoch(model: PreTrainedModel, rows: list[dict[str, Any]], *, how: _How, sampling: str) -> float:
    clock = _TrainerClock(how.device)
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=how.batch_size,
            train_sampling_strategy=sampling,
            learning_rate=LR,
            weight_decay=WEIGHT_DECAY,
            max_grad_norm=CLIP,
            optim="adamw_torch_fused",
            bf16=how.bf16,
            use_cpu=how.device.type == "cpu",
            dataloader_pin_memory=how.device.type != "cpu",
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=how.seed,
        )
        # A tokenizer that knows how BERT pads; the collator asks nothing else of it.
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)})
        trainer = transformers.Trainer(
            model=model,
            args=arguments,
            train_dataset=rows,  # a list is a data set, and the fastest there is
            data_collator=DataCollatorWithPadding(tokenizer),
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

    def _start(self, *_: Any, **__: Any) -> None:
        self.seconds = -self._now()

    def _stop(self, *_: Any, **__: Any) -> None:
        self.seconds += self._now()

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class _LightningClock(_Clock, lightning.Callback):
    """Times Lightning's epoch."""

    on_train_epoch_start, on_train_epoch_end = _Clock._start, _Clock._stop


class _TrainerClock(_Clock, transformers.TrainerCallback):
    """Times the Hugging Face Trainer's epoch."""

    on_epoch_begin, on_epoch_end = _Clock._start, _Clock._stop


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
    rows = []
    for label, ids in zip(split.labels.tolist(), np.split(split.input_ids, split.offsets[1:-1]), strict=True):
        row = {"input_ids": ids.tolist(), "token_type_ids": [0] * len(ids), "attention_mask": [1] * len(ids)}
        rows.append(row | {"labels": label})
    return rows
