"""A user's own text: a CSV, TSV, JSONL or Parquet file with a text column and a label column."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from datasets import Dataset, Features, Value

from eat.tasks.labels import class_names, number_classes, scores, sorted_names
from eat.tasks.tables import Table, read_table
from eat.tasks.units import draw_units, group_units, pair_key, row_strata, row_texts

VALIDATION_SHARE = 0.1
MANY_CLASSES = 50  # more than this, and a new one in every other row: no class label


class FileTask:
    """Classification of, or regression on, a user's own rows.

    Class names are the distinct labels of the training file, by number where all are numbers, else by character.
    Reported are the validation and test files; where neither is named, a tenth of the training rows, each class in its
    proportion and equal texts together. Files are read once, when first needed.

    Args:
        train: Training file (.csv, .tsv, .jsonl or .parquet).
        validation: File that is reported on, or None.
        test: Another file that is reported on, or None.
        text: Column of the text; may be empty text, not null.
        text_pair: Column of the second text, or None.
        label: Column of the label.
        kind: ``"classification"``, or ``"regression"`` for finite scores.
        quotes: False reads double quotes in CSV and TSV as ordinary characters.
        split_seed: Names the draw of the validation rows; not the training seed: all seeds report on the same rows.
    """

    name = "file"
    label_field = "label"
    official_rows: Mapping[str, int] = {}

    def __init__(
        self,
        train: str | Path,
        *,
        validation: str | Path | None = None,
        test: str | Path | None = None,
        text: str = "text",
        text_pair: str | None = None,
        label: str = "label",
        kind: str = "classification",
        quotes: bool = True,
        split_seed: int = 0,
    ) -> None:
        if kind not in ("classification", "regression"):
            raise ValueError(f"data.kind: expected 'classification' or 'regression', got {kind!r}")
        wanted = {"data.text": text, "data.text_pair": text_pair, "data.label": label}
        self._columns = {option: column for option, column in wanted.items() if column is not None}
        if len(set(self._columns.values())) < len(self._columns):
            raise ValueError(f"data.text, data.text_pair, data.label: expected different columns, got {self._columns}")
        named = {"train": train, "validation": validation, "test": test}
        self._files = {split: file for split, file in named.items() if file is not None}
        self._text_columns = [text] if text_pair is None else [text, text_pair]
        self._label_column = label
        self._quotes = quotes
        self._split_seed = split_seed
        self._splits: dict[str, Dataset] = {}
        self._label_names: tuple[str, ...] = ()
        self.kind: Literal["classification", "regression"] = "regression" if kind == "regression" else "classification"
        self.text_fields = ("text", "text_pair")[: len(self._text_columns)]
        self.metrics = ("accuracy", "macro_f1") if kind == "classification" else ("pearson", "spearman")

    @property
    def label_names(self) -> tuple[str, ...]:
        """Class names in label order; empty for regression. Reads the files."""
        self.load()
        return self._label_names

    @property
    def num_labels(self) -> int:
        """Outputs that a model needs: one per class; one for regression."""
        return max(1, len(self.label_names))

    def load(self, root: str | Path | None = None, cache_dir: str | Path | None = None) -> dict[str, Dataset]:
        """Read the files; ``root`` and ``cache_dir`` concern public data sets and are not used here.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is empty or broken, a column is missing, a text is null, a label is missing or not
                among the training file's, or there is a single class.
        """
        if not self._splits:
            self._splits = self._read()
        return dict(self._splits)

    def _read(self) -> dict[str, Dataset]:
        tables = {
            split: read_table(file, self._columns, option=f"data.{split}", quotes=self._quotes)
            for split, file in self._files.items()
        }
        labels: dict[str, list[int]] | dict[str, list[float]]
        if self.kind == "regression":
            labels = {split: scores(table, self._label_column) for split, table in tables.items()}
        else:
            labels = self._number_classes(tables)
        label_type = Value("float32" if self.kind == "regression" else "int64")
        features = Features({**{field: Value("string") for field in self.text_fields}, self.label_field: label_type})
        splits = {}
        for split, table in tables.items():
            texts = {f: _texts(table, column) for f, column in zip(self.text_fields, self._text_columns, strict=True)}
            splits[split] = Dataset.from_dict({**texts, self.label_field: labels[split]}, features=features)
        return splits if len(splits) > 1 else self._carve_validation(splits["train"])

    def _number_classes(self, tables: Mapping[str, Table]) -> dict[str, list[int]]:
        column = self._label_column
        names = {split: class_names(table, column) for split, table in tables.items()}
        known = sorted_names(names["train"])
        path, num_rows = tables["train"].path, len(names["train"])
        if len(known) < 2:
            raise ValueError(
                f"data.label: {path}: expected at least two classes in column {column!r}, all {num_rows} rows have "
                f"{known[0]!r}"
            )
        if len(known) > max(MANY_CLASSES, num_rows / 2):
            raise ValueError(
                f"data.label: {path}: {len(known)} different labels in {num_rows} rows of column {column!r}: is it the "
                "label? For scores say data.kind=regression"
            )
        labels = {split: number_classes(names[split], known, table, column) for split, table in tables.items()}
        self._label_names = known
        return labels

    def _carve_validation(self, train: Dataset) -> dict[str, Dataset]:
        units = group_units([[pair_key(texts)] for texts in row_texts(train)], row_strata(train))
        drawn = draw_units(units, max(1, round(VALIDATION_SHARE * len(train))), salt=f"{self._split_seed}/validation")
        held_out = sorted(row for unit in drawn for row in unit.rows)
        if not held_out:
            raise ValueError(
                f"data.train: {self._files['train']} has {len(units)} different texts, too few to hold out rows for "
                "validation; name a file with data.validation="
            )
        staying = sorted(set(range(len(train))) - set(held_out))
        return {"train": train.select(staying), "validation": train.select(held_out)}


def _texts(table: Table, column: str) -> list[str]:
    values = table.columns[column]
    nulls = [row for row, value in enumerate(values) if value is None]
    if nulls:
        raise ValueError(
            f"{table.path}: {len(nulls)} of {len(values)} rows have no text in column {column!r} (null), the first in "
            f"{table.place(nulls[0])}; empty text is allowed"
        )
    for row, value in enumerate(values):
        if not isinstance(value, str):
            kind = type(value).__name__
            raise ValueError(
                f"{table.path}, {table.place(row)}: expected text in column {column!r}, got {kind} {value!r}"
            )
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:  # JSON can write half of a surrogate pair, which no tokenizer takes
            raise ValueError(
                f"{table.path}, {table.place(row)}: column {column!r} is no Unicode text: {error}"
            ) from error
    return values
