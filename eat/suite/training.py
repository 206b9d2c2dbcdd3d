"""The part about training speed: our Lightning module and data path against the Hugging Face Trainer.

Both train the same random classifier on the same examples for one epoch, with the same batch size, optimiser settings,
clipping and precision, without evaluation, logging or saving. Only the epoch is timed, not what is set up before it.
The Trainer takes part twice: with its own random batches, and with the batches of like length that our sampler makes,
which are better grouped than its own would be on so few examples.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
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

from eat.benchmark.clock import clock_of, num_threads
from eat.benchmark.protocol import measure
from eat.data.collate import PackingCollator
from eat.data.sampler import EpochBatchSampler, epoch_batches
from eat.data.tokenized import TokenizedSplit
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.suite.contest import budget_of, timed_row
from eat.suite.inputs import real_lengths
from eat.suite.records import Row
from eat.suite.settings import SuiteSettings
from eat.suite.shapes import shape_config
from eat.training.module import AdaptiveModule
from eat.training.objectives.depth_weighted import DepthWeightedObjective
from eat.training.optimizer import adamw
from eat.training.schedule import PruningSchedule, linear_warmup_decay
from eat.training.trainer import build_trainer

TRAINER = "huggingface_trainer"
"""The baseline; ``_grouped`` has our batches."""

Epoch = Callable[[], float]
"""Trains for one epoch and returns the seconds that it took."""

EPOCHS_OF = (("sst2", 32, 1.0), ("imdb", 8, 0.3))
"""Whose lengths the examples have, how many are in a batch, and the share of the steps that are taken."""
LR, WEIGHT_DECAY, CLIP = 2e-5, 0.01, 1.0
BETAS, EPS = (0.9, 0.999), 1e-8  # the Trainer's own


def training_rows(shape: str, dtype: torch.dtype, settings: SuiteSettings) -> Iterator[Row]:
    """Measure training throughput in interleaved epochs over the same examples, short ones and long ones."""
    for (data_set, batch_size, share), threads in product(EPOCHS_OF, settings.thread_counts):
        drawn = np.random.default_rng(settings.seed).permutation(real_lengths(data_set))
        lengths = np.resize(drawn, max(1, round(share * settings.training_steps)) * batch_size)
        with num_threads(threads):
            epochs = training_contenders(
                shape_config(shape),
                lengths,
                batch_size=batch_size,
                bf16=dtype == torch.bfloat16,
                device=settings.torch_device,
                seed=settings.seed,
            )
            clock = _EpochClock(epochs)
            budget = budget_of(settings.seconds, settings.rounds, warmup=1)
            timed = measure(clock.calls, lengths.tolist(), len(lengths), budget, clock=clock, training=True)
        for name in epochs:
            row = timed_row(timed, next(iter(epochs)), name, float(lengths.mean()))
            yield row | {"inputs": data_set, "batch_size": batch_size, "threads": threads, "engine": name}


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

    ``lengths`` has the tokens of each example, as many as fill whole batches; ``bf16`` is mixed precision; ``seed`` is
    that of weights, tokens and order.
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
        best="accuracy",
        seed=how.seed,
    )
    stopwatch = _OfLightning(how.device)
    trainer = build_trainer(
        accelerator=how.device.type,
        precision="bf16-mixed" if how.bf16 else "32-true",
        threads=None,
        devices=1,
        max_epochs=1,
        gradient_clip_val=CLIP,
        callbacks=[stopwatch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(module, loader, loader)  # the second is never read: without one Lightning warns
    return stopwatch.seconds


def _their_epoch(model: PreTrainedModel, rows: list[dict[str, Any]], *, how: _How, sampling: str) -> float:
    stopwatch = _OfTrainer(how.device)
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
            callbacks=[stopwatch],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return stopwatch.seconds


class _Stopwatch:
    """Times one epoch."""

    def __init__(self, device: torch.device) -> None:
        self._clock, self.seconds = clock_of(device), 0.0

    def _start(self, *_: Any, **__: Any) -> None:
        self.seconds = -self._clock()

    def _stop(self, *_: Any, **__: Any) -> None:
        self.seconds += self._clock()


class _OfLightning(_Stopwatch, lightning.Callback):
    on_train_epoch_start, on_train_epoch_end = _Stopwatch._start, _Stopwatch._stop


class _OfTrainer(_Stopwatch, transformers.TrainerCallback):
    on_epoch_begin, on_epoch_end = _Stopwatch._start, _Stopwatch._stop


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


class _EpochClock:
    """A clock that moves on by what epochs say they took: their set-up is not timed."""

    def __init__(self, epochs: Mapping[str, Epoch]) -> None:
        self.calls = {name: partial(self._run, epoch) for name, epoch in epochs.items()}
        self._seconds = 0.0

    def __call__(self) -> float:
        """Return the seconds of all epochs so far."""
        return self._seconds

    def _run(self, epoch: Epoch, _: Any) -> None:
        self._seconds += epoch()
