"""Held-out splits, carved from train without leakage before anything is fitted: for thresholds, for certificates.

Neither the reported split nor anything trained on ever chooses a threshold, a checkpoint or a certificate.
"""

import logging
from collections.abc import Mapping
from typing import NamedTuple

from datasets import Dataset

from eat.tasks import Task
from eat.tasks.leakage import SAME_TEXT, warn_of_shared_texts
from eat.tasks.units import Unit, digest, draw_units, row_texts

THRESHOLD_SHARE = 0.1
CERTIFICATION_SHARE = 0.2

_log = logging.getLogger(__name__)


class Carved(NamedTuple):
    """Training rows and the two held-out splits."""

    train: Dataset
    threshold: Dataset
    certification: Dataset


def carve(
    task: Task, train: Dataset, *, threshold_examples: int = 500, certification_examples: int = 1500, seed: int = 0
) -> Carved:
    """Carve the threshold and certification splits from train; each part in the order of ``train``.

    Whole units are drawn (``eat.tasks.leakage``), each class in its proportion, by a hash of seed and text: the same
    rows whatever their order. Small tasks give less: at most a tenth of their rows for thresholds and a fifth for
    certification, but one row each; where 0 examples are wanted there is no split. Of a task without a rule equal texts
    stay together, and a text that repeats in other pairs is warned of.

    A certificate's statistics count independent examples, so of each unit drawn for certification one row is kept,
    by the same hash, and the split has fewer than were wanted where units have several.

    Raises:
        ValueError: If a number is negative, or train is too small to give every split a row.
    """
    if min(threshold_examples, certification_examples) < 0:
        wanted = f"{threshold_examples} and {certification_examples}"
        raise ValueError(f"threshold_examples, certification_examples: expected 0 or more, got {wanted}")
    rule = task.group_by
    if rule is None:
        rule = SAME_TEXT
        warn_of_shared_texts(task.name, task.source_columns, train)
    units = rule.units(train)
    threshold = _draw(units, threshold_examples, THRESHOLD_SHARE, len(train), f"{seed}/threshold")
    left = sorted(set(units) - set(threshold), key=lambda unit: unit.rows)
    certification = _draw(left, certification_examples, CERTIFICATION_SHARE, len(train), f"{seed}/certification")
    held_out = [*threshold, *certification]
    leaving = {row for unit in held_out for row in unit.rows} | rule.leaving_with(held_out, train)
    staying = [row for row in range(len(train)) if row not in leaving]
    short = (threshold_examples and not threshold) or (certification_examples and not certification)
    if short or not staying:
        raise ValueError(
            f"{task.name}: {len(train)} training rows ({len(units)} independent texts) are too few to hold out a "
            "threshold and a certification split; give more rows, or set threshold_examples and "
            "certification_examples to 0"
        )
    texts, salt = row_texts(train), f"{seed}/certification/row"
    independent = sorted(min(unit.rows, key=lambda row: digest(salt, *texts[row])) for unit in certification)
    whole = sorted(row for unit in threshold for row in unit.rows)
    carved = Carved(train.select(staying), train.select(whole), train.select(independent))
    _log.info(
        "%s: of %d training rows %d are held out for thresholds, %d for certification, %d more leave with them",
        *(task.name, len(train), len(carved.threshold), len(carved.certification)),
        len(train) - sum(len(part) for part in carved),
    )
    return carved


def summarise_splits(splits: Mapping[str, Dataset]) -> dict[str, dict[str, int | float]]:
    """Describe each split: its rows, mean words per row, and rows whose text also stands in ``train``.

    Official sets repeat some training texts in their reported splits; those rows stay where they are, and are counted.
    """
    trained_on = set(row_texts(splits["train"]))
    summary: dict[str, dict[str, int | float]] = {}
    for name, split in splits.items():
        texts = row_texts(split)
        words = sum(len(text.split()) for row in texts for text in row)
        summary[name] = {"rows": len(texts), "mean_words": words / len(texts) if texts else 0.0}
        if name != "train":
            summary[name]["rows_also_in_train"] = sum(row in trained_on for row in texts)
    return summary


def _draw(units: list[Unit], wanted: int, share: float, total: int, salt: str) -> list[Unit]:
    return draw_units(units, min(wanted, max(1, int(share * total))), salt=salt) if wanted and units else []
