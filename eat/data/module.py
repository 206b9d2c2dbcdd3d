"""Data module: from a task's rows to packed batches, with the held-out splits carved first."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from eat.checks import shown, thread_count, true_or_false, whole_number
from eat.data.collate import PackingCollator
from eat.data.sampler import EpochBatchSampler, batches_in_order
from eat.data.splits import carve, summarise_splits
from eat.data.tokenized import TokenizedSplit, tokenize
from eat.files import cache_folder
from eat.tasks import Task, describe_rows

_log = logging.getLogger(__name__)

Loader = DataLoader[dict[str, Tensor]]


def check_data_options(
    *,
    batch_size: Any,
    eval_batch_size: Any,
    train_examples: Any,
    threshold_examples: Any,
    certification_examples: Any,
    group_by_length: Any,
    num_workers: Any,
) -> None:
    """Check options of `TextDataModule` before there are data.

    Raises:
        ValueError: Naming the option, as it is typed, that is of another type or out of range.
    """
    whole_number("data.batch_size", batch_size)
    whole_number("data.eval_batch_size", eval_batch_size)
    if train_examples is not None:
        try:
            whole_number("data.train_examples", train_examples)
        except ValueError as error:
            raise ValueError(str(error).replace(", got", ", or null, got")) from None
    whole_number("data.threshold_examples", threshold_examples, at_least=0)
    whole_number("data.certification_examples", certification_examples, at_least=0)
    true_or_false("data.group_by_length", group_by_length)
    thread_count("data.num_workers", num_workers, at_least=0)


class TextDataModule(LightningDataModule):
    """Lightning data module that splits, tokenises and batches a task.

    ``train`` is what is left of the task's training rows once ``threshold`` (model selection and exit thresholds) and
    ``certification`` are held out; the task's own splits are reported and choose nothing.

    Args:
        task: Where rows come from.
        tokenizer: The backbone's.
        max_length: Longest example in tokens; longer ones are cut.
        batch_size: Examples in a training batch, over all devices together.
        eval_batch_size: Examples in an evaluation batch.
        seed: Of the held-out draw, of the budget's and of the order.
        train_examples: Train on a seeded draw of so many rows, taken after the held-out splits; None for all.
        threshold_examples: Rows held out for thresholds.
        certification_examples: Rows held out for certification.
        group_by_length: Put like lengths into a batch.
        root: Folder of local data sets; None asks ``EAT_DATA_ROOT``, then the hub.
        cache_dir: Where prepared data are kept; None for ``EAT_CACHE_DIR``, then a folder in the user's cache.
        num_workers: Processes that collate; packed batches are cheap, so 0 is mostly best.
    """

    def __init__(
        self,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int = 256,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        seed: int = 0,
        train_examples: int | None = None,
        threshold_examples: int = 500,
        certification_examples: int = 1500,
        group_by_length: bool = True,
        root: str | Path | None = None,
        cache_dir: str | Path | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        check_data_options(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            train_examples=train_examples,
            threshold_examples=threshold_examples,
            certification_examples=certification_examples,
            group_by_length=group_by_length,
            num_workers=num_workers,
        )
        self.task = task
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.seed = seed
        self.train_examples = train_examples
        self.threshold_examples = threshold_examples
        self.certification_examples = certification_examples
        self.group_by_length = group_by_length
        self.root = root
        self.cache_dir = Path(cache_dir or cache_folder())
        self.num_workers = num_workers
        self.splits: dict[str, Dataset] = {}
        self.tokenized: dict[str, TokenizedSplit] = {}
        self._position = (0, 0)

    def setup(self, stage: str | None = None) -> None:
        """Load, hold out, cut to the budget and tokenise; once."""
        if self.tokenized:
            return
        self.load_splits()
        self.tokenized = {
            name: tokenize(rows, self.tokenizer, max_length=self.max_length, cache_dir=self.cache_dir / "tokens")
            for name, rows in self.splits.items()
        }

    def load_splits(self) -> None:
        """Load, hold out and cut to the budget, without tokens: enough for the fingerprint; once."""
        if self.splits:
            return
        loaded = self.task.load(root=self.root, cache_dir=self.cache_dir / "datasets")
        self._loaded_train_rows = len(loaded["train"])
        carved = carve(
            self.task,
            loaded["train"],
            threshold_examples=self.threshold_examples,
            certification_examples=self.certification_examples,
            seed=self.seed,
        )
        reported = {name: rows for name, rows in loaded.items() if name != "train"}
        held_out = {"threshold": carved.threshold, "certification": carved.certification}
        self.report_splits = tuple(reported)
        self.splits = {
            "train": self._within_budget(carved.train),
            **{name: rows for name, rows in held_out.items() if len(rows)},
            **reported,
        }

    def train_dataloader(self) -> Loader:
        """Return training batches: the order is a pure function of (seed, epoch)."""
        return self._loader(self.tokenized["train"], self.training_batches(self.group_by_length))

    def training_batches(self, group_by_length: bool) -> EpochBatchSampler:
        """Return the order of training, from where it is resumed."""
        lengths = self.tokenized["train"].lengths
        sampler = EpochBatchSampler(
            lengths, self.batch_size, seed=self.seed, group_by_length=group_by_length, **self._process
        )
        sampler.start_at(*self._position)
        return sampler

    def val_dataloader(self) -> Loader:
        """Return the threshold split, on which models are selected; the reported split never is.

        Of several processes each gets its part, without padding.

        Raises:
            ValueError: If there are more processes than examples.
        """
        tokens, process = self._tokens("threshold"), self._process
        if len(tokens) < process["world_size"]:
            raise ValueError(
                f"trainer.devices: expected at most the {len(tokens)} examples of the threshold split, which are "
                f"shared out, got {process['world_size']}"
            )
        return self._loader(tokens, batches_in_order(len(tokens), self.eval_batch_size, **process))

    def loader(self, split: str, batch_size: int | None = None) -> Loader:
        """Return a split's batches in the split's order.

        Raises:
            ValueError: If there is no split of this name.
        """
        tokens = self._tokens(split)
        size = self.eval_batch_size if batch_size is None else batch_size
        return self._loader(tokens, batches_in_order(len(tokens), size))

    def _tokens(self, split: str) -> TokenizedSplit:
        if split not in self.tokenized:
            raise ValueError(f"split: expected one of {list(self.tokenized)}, got {shown(split)}")
        return self.tokenized[split]

    def resume_at(self, epoch: int, batches: int) -> None:
        """Let the next training loader start at an epoch's batch: those before it were trained on."""
        self._position = (epoch, batches)

    def fingerprint(self) -> str:
        """Return a hash of every split's texts and labels, the same on every machine."""
        digest = hashlib.blake2b(digest_size=16)
        for name, rows in self.splits.items():
            digest.update(f"{name}/{len(rows)}".encode())
            for column in ("text", "text_pair", "label"):
                if column in rows.column_names:
                    for value in rows[column][:]:
                        digest.update(f"{value}\x1f".encode())
        return digest.hexdigest()

    def label_counts(self) -> list[int]:
        """Count the training examples of each class, or with each label, in label order; none of a regression."""
        if self.task.kind == "regression":
            return []
        if self.task.kind == "multi_label":
            return list(map(int, np.sum(self.splits["train"][self.task.label_field][:], axis=0)))
        counts = np.bincount(self.splits["train"][self.task.label_field][:], minlength=self.task.num_labels)
        return list(map(int, counts))

    def summary(self) -> dict[str, dict[str, Any]]:
        """Describe each split: rows, mean words and tokens, and whether it is the complete official one.

        Of the training rows also how many the rarest and the most frequent class have.
        """
        facts: dict[str, dict[str, Any]] = {name: dict(row) for name, row in summarise_splits(self.splits).items()}
        for name, tokens in self.tokenized.items():
            facts[name]["mean_tokens"] = float(tokens.lengths.mean()) if len(tokens) else 0.0
            if name in self.report_splits:
                facts[name]["data"] = describe_rows(self.task, name, len(tokens))
        if counts := self.label_counts():
            facts["train"]["rows_of_a_class"] = f"{min(counts)} to {max(counts)}"
        facts["train"]["data"] = describe_rows(self.task, "train", self._loaded_train_rows)
        return facts

    @property
    def _process(self) -> dict[str, int]:
        """Which of the processes of a training this is, and how many there are."""
        if self.trainer is None:
            return {"rank": 0, "world_size": 1}
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}

    def _within_budget(self, train: Dataset) -> Dataset:
        if self.train_examples is None or self.train_examples >= len(train):
            return train
        generator = np.random.Generator(np.random.PCG64([self.seed, 1]))
        return train.select(np.sort(generator.permutation(len(train))[: self.train_examples]))

    def _loader(self, split: TokenizedSplit, batches: Any) -> Loader:
        return DataLoader(
            range(len(split)),  # type: ignore[arg-type]  # the collator turns numbers into tokens
            batch_sampler=batches,
            collate_fn=PackingCollator(split),
            num_workers=self.num_workers,
        )
