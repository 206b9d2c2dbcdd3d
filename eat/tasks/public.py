"""Public labelled data sets: official columns brought to eat's, which are text, text_pair and label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset
from jaxtyping import Float, Int

from eat.checks import shown
from eat.tasks.leakage import LeakageRule
from eat.tasks.sources import Source, read_label_names, read_splits, where_from

TEXT_FIELDS = ("text", "text_pair")


@dataclass(frozen=True)
class PublicTask:
    """Public labelled data set: its address, columns, classes, metrics and official size."""

    name: str
    source: Source
    source_columns: tuple[str, ...]  # text columns, as the source names them
    source_label: str  # label column, likewise
    label_names: tuple[str, ...]
    metrics: tuple[str, ...]
    official_rows: Mapping[str, int]  # of the splits that are loaded, ``train`` first
    group_by: LeakageRule | None = None  # None: rows with equal texts are held out together, for want of a rule
    label_field: ClassVar[str] = "label"

    @property
    def text_fields(self) -> tuple[str, ...]:
        """The text columns after loading."""
        return TEXT_FIELDS[: len(self.source_columns)]

    @property
    def kind(self) -> Literal["classification", "regression"]:
        """Whether labels are classes or scores."""
        return "classification" if self.label_names else "regression"

    @property
    def num_labels(self) -> int:
        """Outputs that a model needs: one per class; one for regression."""
        return max(1, len(self.label_names))

    def load(self, root: str | Path | None = None, cache_dir: str | Path | None = None) -> dict[str, Dataset]:
        """Read ``train`` and the reported splits, with columns ``text``, ``text_pair`` for pairs, and ``label``.

        Class numbers follow ``label_names`` whatever the source's own order is: a ``labels.json`` beside local files,
        or the names stored with the column, are matched by name. Without either the numbers are the hub's.

        Raises:
            DataNotFoundError: If the data is not where it was looked for.
            ValueError: If a column is missing, a text is null, or a label is outside the known ones.
        """
        splits = read_splits(self.source, tuple(self.official_rows), root=root, cache_dir=cache_dir)
        names = read_label_names(self.source, root=root)
        try:
            return {split: self._normalise(dataset, names, f"{self.name}/{split}") for split, dataset in splits.items()}
        except ValueError as error:
            raise ValueError(f"{error}; it was read from {where_from(self.source, root)}") from error

    def _normalise(self, dataset: Dataset, names: tuple[str, ...] | None, where: str) -> Dataset:
        for column in (*self.source_columns, self.source_label):
            if column not in dataset.column_names:
                raise ValueError(f"{where}: column {shown(column)} is missing; there are {dataset.column_names}")
        for column in self.source_columns:
            _check_text(dataset, column, where)
        feature = dataset.features[self.source_label]
        if names is None and isinstance(feature, ClassLabel):
            names = tuple(feature.names)
        labels = (
            self._classes(dataset, names, where) if self.label_names else _scores(dataset, self.source_label, where)
        )
        renames = {old: new for old, new in zip(self.source_columns, TEXT_FIELDS, strict=False) if old != new}
        texts = dataset.select_columns(list(self.source_columns)).rename_columns(renames)
        return texts.add_column(self.label_field, labels)

    def _classes(self, dataset: Dataset, names: Sequence[str] | None, where: str) -> Int[np.ndarray, " rows"]:
        """Number the source's labels in the order of ``label_names``."""
        values = dataset.data.column(self.source_label)
        if not pa.types.is_integer(values.type) or values.null_count:
            found = f"{values.type}{' with nulls' if values.null_count else ''}"
            raise ValueError(
                f"{where}: column {shown(self.source_label)} must hold integers without nulls, got {found}"
            )
        raw = dataset.with_format("numpy")[self.source_label][:]
        source_names = self.label_names if names is None else names
        if sorted(source_names) != sorted(self.label_names):
            odd = sorted(set(source_names) ^ set(self.label_names))
            raise ValueError(f"{where}: expected the {self.num_labels} label names of {self.name}; these differ: {odd}")
        outside = np.flatnonzero((raw < 0) | (raw >= self.num_labels))
        if len(outside):
            raise ValueError(
                f"{where}: {len(outside)} rows have a label outside 0..{self.num_labels - 1}, "
                f"the first in row {outside[0] + 1}: {raw[outside[0]]}"
            )
        order = np.array([self.label_names.index(name) for name in source_names], dtype=np.int64)
        return order[raw]


def _check_text(dataset: Dataset, column: str, where: str) -> None:
    values = dataset.data.column(column)
    if str(values.type) not in ("string", "large_string"):
        raise ValueError(f"{where}: column {shown(column)} must hold text, got {values.type}")
    if values.null_count:
        raise ValueError(f"{where}: {values.null_count} rows have no text in column {shown(column)}")


def _scores(dataset: Dataset, column: str, where: str) -> Float[np.ndarray, " rows"]:
    kind = dataset.data.column(column).type
    raw = dataset.with_format("numpy")[column][:] if pa.types.is_integer(kind) or pa.types.is_floating(kind) else None
    if raw is None or not np.isfinite(raw).all():
        found = f"{kind}" if raw is None else f"{int((~np.isfinite(raw)).sum())} rows without"
        raise ValueError(f"{where}: scores must be finite numbers without nulls, column {shown(column)} has {found}")
    return raw.astype(np.float32)
