"""The demo task: sentiment of made-up reviews, no download; of each the difficulty and the decisive word are known."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from datasets import Dataset

from eat.checks import whole_number
from eat.tasks.demo_corpus import generate


class DemoTask:
    """Sentiment of short reviews that rules wrote (``eat.tasks.demo_corpus``); validation has own frames and words.

    Beside ``text`` and ``label`` each row has ``difficulty``; ``cue`` and ``cue_start``, the negation or conjunction on
    which the label hinges and where it stands (empty and -1 where there is none); ``frame``, what it was made from.

    Args:
        train_rows: Training sentences.
        validation_rows: Validation sentences.
        corpus_seed: Names the corpus; not the training seed: all seeds report on the same sentences.
    """

    name = "demo"
    text_fields: tuple[str, ...] = ("text",)
    source_columns = text_fields
    group_by = None
    label_field = "label"
    kind: Literal["classification", "regression"] = "classification"
    label_names: tuple[str, ...] = ("negative", "positive")
    num_labels = 2
    metrics: tuple[str, ...] = ("accuracy",)

    def __init__(self, train_rows: int = 12_000, validation_rows: int = 1_500, corpus_seed: int = 0) -> None:
        for option, rows in (("train_rows", train_rows), ("validation_rows", validation_rows)):
            whole_number(f"task.{option}", rows)
        self.official_rows: Mapping[str, int] = {"train": train_rows, "validation": validation_rows}
        self.corpus_seed = corpus_seed

    def load(self, root: str | Path | None = None, cache_dir: str | Path | None = None) -> dict[str, Dataset]:
        """Make the sentences; ``root`` and ``cache_dir`` concern public data sets and are not used here."""
        return {
            split: Dataset.from_list([dataclasses.asdict(row) for row in generate(split, rows, self.corpus_seed)])
            for split, rows in self.official_rows.items()
        }
