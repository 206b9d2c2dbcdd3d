"""File task, a user's own text: a CSV, TSV, JSONL or Parquet file with a text column and a label column."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from datasets import Dataset, Features, Value

from eat.checks import shown
from eat.tasks.formats import Table, check_dialect, read_table
from eat.tasks.labels import class_names, known_names, number_classes, refuse_two_spellings, scores
from eat.tasks.leakage import SAME_TEXT, SharedColumns
from eat.tasks.texts import group_values, read_texts, warn_of_odd_texts
from eat.tasks.units import draw_units

VALIDATION_SHARE = 0.1
MANY_CLASSES = 50  # more than this, and a new one in every other row: no class label


class FileTask:
    """Classification of, or regression on, a user's own rows.

    Class names are those that the training file stores with the label column (Parquet), else its distinct labels, by
    number where all are numbers, else by character; 1, 1.0 and "1" are one label, and so are True and true. Reported
    are the validation and test files; where neither is named, a tenth of the training rows, each class in its
    proportion, equal texts and ``group_by``'s rows together. Files are read once, when first needed.

    Args:
        train: Training file (.csv, .tsv, .jsonl or .parquet).
        validation: File that is reported on, or None.
        test: Another file that is reported on, or None.
        text: Column of the text; may be empty text, not null; numbers are read as text.
        text_pair: Column of the second text, or None.
        label: Column of the label.
        kind: ``"classification"``, or ``"regression"`` for finite scores.
        quotes: False reads double quotes in CSV and TSV as ordinary characters.
        delimiter: What separates the columns of CSV and TSV: a character, or ``"comma"``, ``"semicolon"``, ``"tab"``,
            ``"pipe"``; None: one of these, told by the header.
        group_by: Column of the training file, or columns: rows that share a value of one of them never stand on both
            sides of a split; rows without a value (empty, null or NaN) share none. An empty list keeps only equal texts
            together and says that this is meant; so does None, but with a warning where texts repeat across pairs.
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
        delimiter: str | None = None,
        group_by: str | Sequence[str] | None = None,
        split_seed: int = 0,
    ) -> None:
        if kind not in ("classification", "regression"):
            raise ValueError(f"data.kind: expected 'classification' or 'regression', got {shown(kind)}")
        wanted = {"data.text": text, "data.label": label}
        if text_pair is not None:
            wanted["data.text_pair"] = text_pair
        _check_strings("the name of a column", wanted)
        self._columns = {column: option for option, column in wanted.items()}
        if len(self._columns) < len(wanted):
            raise ValueError(f"data.text, data.text_pair, data.label: expected different columns, got {shown(wanted)}")
        named = {"train": train, "validation": validation, "test": test}
        self._files = {"train": train} | {split: file for split, file in named.items() if file is not None}
        _check_strings("a file", {f"data.{split}": file for split, file in self._files.items()})
        self.source_columns = (text,) if text_pair is None else (text, text_pair)
        self.text_fields = ("text", "text_pair")[: len(self.source_columns)]
        self._groups = self._group_columns(group_by, label)
        self.group_by = None if group_by is None else SharedColumns(tuple(self._groups.values()))
        self._label_column = label
        self._dialect = check_dialect(delimiter, quotes, self._files.values())
        self._split_seed = split_seed
        self._splits: dict[str, Dataset] = {}
        self._label_names: tuple[str, ...] = ()
        self.kind: Literal["classification", "regression"] = "regression" if kind == "regression" else "classification"
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

    def _group_columns(self, group_by: object, label: str) -> dict[str, str]:
        """Return the file's columns that ``group_by`` names -> the columns of what is loaded."""
        names = [group_by] if isinstance(group_by, str) else [] if group_by is None else group_by
        if not isinstance(names, Sequence) or not all(isinstance(name, str) and name != label for name in names):
            raise ValueError(
                f"data.group_by: expected a column, not data.label's, or a list of them, got {shown(group_by)}"
            )
        fields = dict(zip(self.source_columns, self.text_fields, strict=True))
        return {name: fields.get(name, f"group_by/{name}") for name in names}

    def _read(self) -> dict[str, Dataset]:
        in_train = {**dict.fromkeys(self._groups, "data.group_by"), **self._columns}
        tables = {
            split: read_table(
                file, in_train if split == "train" else self._columns, option=f"data.{split}", dialect=self._dialect
            )
            for split, file in self._files.items()
        }
        labels: dict[str, list[int]] | dict[str, list[float]]
        if self.kind == "regression":
            labels = {split: scores(table, self._label_column) for split, table in tables.items()}
        else:
            labels = self._number_classes(tables)
        splits = {split: self._rows(table, labels[split], split == "train") for split, table in tables.items()}
        return splits if len(splits) > 1 else self._carve_validation(splits["train"])

    def _rows(self, table: Table, labels: list[int] | list[float], in_train: bool) -> Dataset:
        text, score = Value("string"), Value("float32" if self.kind == "regression" else "int64")
        columns: dict[str, tuple[list[Any], Value]] = {}
        for field, column in zip(self.text_fields, self.source_columns, strict=True):
            columns[field] = read_texts(table, column, self._columns[column]), text
            if in_train:
                warn_of_odd_texts(columns[field][0], table, column, self._columns[column])
        columns[self.label_field] = labels, score
        columns["line"] = list(table.lines), Value("int64")
        for column, field in self._groups.items() if in_train else ():
            columns.setdefault(field, (group_values(table, column), text))
        features = Features({field: kind for field, (_, kind) in columns.items()})
        return Dataset.from_dict({field: values for field, (values, _) in columns.items()}, features=features)

    def _number_classes(self, tables: Mapping[str, Table]) -> dict[str, list[int]]:
        column = self._label_column
        names = {split: class_names(table, column) for split, table in tables.items()}
        refuse_two_spellings(tables, names)
        train = tables["train"]
        known = known_names(train, column, names["train"])
        labels = {split: number_classes(names[split], known, table, column) for split, table in tables.items()}
        path, num_rows = train.path, len(names["train"])
        if len(set(labels["train"])) < 2:
            raise ValueError(
                f"data.label: {path}: expected at least two classes in column {shown(column)}, all {num_rows} rows "
                f"have {shown(names['train'][0])}"
            )
        if column not in train.stored_names and len(known) > max(MANY_CLASSES, num_rows / 2):
            raise ValueError(
                f"data.label: {path}: {len(known)} different labels in {num_rows} rows of column {shown(column)}: is "
                "it the label? For scores say data.kind=regression"
            )
        self._label_names = known
        return labels

    def _carve_validation(self, train: Dataset) -> dict[str, Dataset]:
        units = (self.group_by or SAME_TEXT).units(train)
        drawn = draw_units(units, max(1, round(VALIDATION_SHARE * len(train))), salt=f"{self._split_seed}/validation")
        held_out = sorted(row for unit in drawn for row in unit.rows)
        if not held_out:
            raise ValueError(
                f"data.train: {self._files['train']} has {len(units)} independent texts, too few to hold out rows for "
                "validation; name a file with data.validation="
            )
        staying = sorted(set(range(len(train))) - set(held_out))
        own = [*self.text_fields, self.label_field, "line"]
        return {"train": train.select(staying), "validation": train.select(held_out).select_columns(own)}


def _check_strings(what: str, given: Mapping[str, Any]) -> None:
    for option, value in given.items():
        if not isinstance(value, str | Path) or not str(value):
            quoted = f"; as text that is {option}=\\'{value}\\'" if isinstance(value, int) else ""
            raise ValueError(f"{option}: expected {what}, got {shown(value)}{quoted}")
