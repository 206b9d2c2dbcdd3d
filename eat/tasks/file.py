"""File task, a user's own text: a CSV, TSV, JSON or Parquet file with a text column and a label column, or several."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value

from eat.checks import number, one_of, shown, whole_number
from eat.tasks.formats import DELIMITERS, Table, check_dialect, read_table
from eat.tasks.kinds import KINDS, TaskKind
from eat.tasks.label_sets import Sets, labelled_rows, sets_of_columns, sets_of_names, warn_of_constant_labels
from eat.tasks.labels import (
    UNLABELLED,
    check_label_names,
    class_names,
    given_names,
    known_names,
    marks_no_label,
    number_classes,
    refuse_two_spellings,
    scores,
    warn_of_scores,
    with_labels,
)
from eat.tasks.leakage import SAME_TEXT, SharedColumns
from eat.tasks.texts import group_values, read_texts, warn_of_odd_texts
from eat.tasks.units import draw_units

VALIDATION_SHARE = 0.1
METRICS_OF: Mapping[TaskKind, tuple[str, ...]] = {
    "classification": ("accuracy", "macro_f1"),
    "multi_label": ("micro_f1", "macro_f1", "subset_accuracy", "label_accuracy"),
    "regression": ("pearson", "spearman"),
}
"""What is measured, the primary metric first."""
MANY_CLASSES = 50  # more than this, and a new one in every other row: no class label

_log = logging.getLogger(__name__)


class FileTask:
    """Classification, by one class or by several labels, of a user's own rows, or regression on them.

    Class names are ``label_names``, else those that the training file stores with the label column (Parquet), else its
    distinct labels, by number where all are numbers, else by character; 1, 1.0 and "1" are one label, and so are True
    and true. Reported are the validation and test files; where neither is named, a share of the training rows, each
    class in its proportion, equal texts and ``group_by``'s rows together. Files are read once, when first needed.

    Args:
        train: Training file: .csv, .tsv, .jsonl, .json (an array of objects), each also with .gz, or .parquet.
        validation: File that is reported on, or None.
        test: Another file that is reported on, or None.
        validation_share: Share of the training rows that is held out and reported where neither is named, in (0, 1);
            None for a tenth.
        text: Column of the text, or a list of columns whose texts are joined; may be empty text, not null; numbers are
            read as text.
        text_pair: Column of the second text, likewise, or None.
        separator: What stands between the texts of a list of columns.
        label: Column of the label; or several, each 0 or 1, whose names are then labels of a multi-label task.
        label_names: Names of the classes in label order, where the file has their numbers, from 0; or, where it has
            the names, their order. None: the labels are names.
        label_separator: What stands between the names in one column of a multi-label task, where it holds text; also
            ``"comma"``, ``"semicolon"``, ``"tab"`` or ``"pipe"``.
        kind: ``"classification"``; ``"multi_label"``, where a text has any number of labels (of one column: a list of
            names; implied by several columns); or ``"regression"`` for finite scores.
        unlabelled: What becomes of rows without a label, which are those with an empty one, and those with -1 beside
            two other classes or more of the training file, or beside the 0 and 1 of several labels: ``"refuse"``, which
            a command says; ``"drop"``; or ``"keep"``, which takes -1 for a class and refuses the empty, as runs do
            whose configuration does not say.
        max_rows: Read so many rows of each file at most, drawn at random; None for all.
        quotes: False reads double quotes in CSV and TSV as ordinary characters.
        delimiter: What separates the columns of CSV and TSV: a character, or ``"comma"``, ``"semicolon"``, ``"tab"``,
            ``"pipe"``; None: one of these, told by the header.
        group_by: Column of the training file, or columns: rows that share a value of one of them never stand on both
            sides of a split; rows without a value (empty, null or NaN) share none. An empty list keeps only equal texts
            together and says that this is meant; so does None, but with a warning where texts repeat across pairs.
        split_seed: Names the draw of the validation rows and of ``max_rows``; not the training seed: all seeds report
            on the same rows.
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
        validation_share: float | None = None,
        text: str | Sequence[str] = "text",
        text_pair: str | Sequence[str] | None = None,
        separator: str = " ",
        label: str | Sequence[str] = "label",
        label_names: Sequence[str | int] | None = None,
        label_separator: str = ",",
        kind: str = "classification",
        unlabelled: str = "keep",
        max_rows: int | None = None,
        quotes: bool = True,
        delimiter: str | None = None,
        group_by: str | Sequence[str] | None = None,
        split_seed: int = 0,
    ) -> None:
        self._label_columns = _columns_of("data.label", label)
        self.kind: TaskKind = self._checked_kind(kind, label)
        pair = {} if text_pair is None else {"data.text_pair": text_pair}
        self._texts = {option: _columns_of(option, value) for option, value in ({"data.text": text} | pair).items()}
        columns_of = {**self._texts, "data.label": self._label_columns}
        wanted = [(column, option) for option, columns in columns_of.items() for column in columns]
        self._columns = dict(wanted)
        if len(self._columns) < len(wanted):
            given = {option: columns[0] if len(columns) == 1 else columns for option, columns in self._texts.items()}
            raise ValueError(
                f"data.text, data.text_pair, data.label: expected different columns, got "
                f"{shown(given | {'data.label': label if isinstance(label, str) else list(label)})}"
            )
        if not isinstance(separator, str):
            raise ValueError(f"data.separator: expected text that stands between joined texts, got {shown(separator)}")
        self._separator = separator
        named = {"train": train, "validation": validation, "test": test}
        self._files = {"train": train} | {split: file for split, file in named.items() if file is not None}
        _check_strings("a file", {f"data.{split}": file for split, file in self._files.items()})
        self._validation_share = self._checked_share(validation_share)
        self._max_rows = None if max_rows is None else whole_number("data.max_rows", max_rows)
        self._unlabelled = one_of("data.unlabelled", unlabelled, UNLABELLED)
        if not isinstance(label_separator, str) or not label_separator:
            raise ValueError(
                f"data.label_separator: expected text between names of labels, got {shown(label_separator)}"
            )
        if label_separator != "," and (self.kind != "multi_label" or len(self._label_columns) > 1):
            raise ValueError(
                f"data.label_separator: expected data.kind=multi_label with names in one column, between which it "
                f"stands, got {shown(label_separator)} without"
            )
        self._label_separator = DELIMITERS.get(label_separator, label_separator)
        if label_names is not None and len(self._label_columns) > 1:
            raise ValueError(
                f"data.label_names: expected null where data.label names a column for each label, got "
                f"{shown(label_names)}"
            )
        self._given_names = check_label_names(label_names, kind)
        self.source_columns = tuple(columns[0] for columns in self._texts.values())
        self.text_fields = ("text", "text_pair")[: len(self.source_columns)]
        self._groups = self._group_columns(group_by)
        self.group_by = None if group_by is None else SharedColumns(tuple(self._groups.values()))
        self._dialect = check_dialect(delimiter, quotes, self._files.values())
        self._split_seed = split_seed
        self._splits: dict[str, Dataset] = {}
        self._label_names: tuple[str, ...] = ()
        self.metrics = METRICS_OF[self.kind]

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes or labels, in their order; empty for regression. Reads the files."""
        self.load()
        return self._label_names

    @property
    def num_labels(self) -> int:
        """Outputs that a model needs: one per class or label; one for regression."""
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

    def _checked_kind(self, kind: str, label: Any) -> TaskKind:
        if kind not in KINDS:
            raise ValueError(f"data.kind: expected one of {list(KINDS)}, got {shown(kind)}")
        if isinstance(label, str):
            return kind
        if len(self._label_columns) < 2:
            raise ValueError(
                f"data.label: expected a column, or two or more that hold 0 or 1, got {shown(list(label))}; one label "
                f"that applies or not is a task of two classes, data.label={self._label_columns[0]}"
            )
        if kind == "regression":
            raise ValueError(f"data.label: expected one column with data.kind=regression, got {shown(list(label))}")
        return "multi_label"

    def _checked_share(self, share: float | None) -> float:
        if share is not None and len(self._files) > 1:
            raise ValueError(
                f"data.validation_share: expected null where data.{list(self._files)[1]} names what is reported on, "
                f"got {shown(share)}"
            )
        return VALIDATION_SHARE if share is None else number("data.validation_share", share, above=0, below=1)

    def _group_columns(self, group_by: object) -> dict[str, str]:
        """Return the file's columns that ``group_by`` names -> the columns of what is loaded."""
        names = [group_by] if isinstance(group_by, str) else [] if group_by is None else group_by
        if not isinstance(names, Sequence) or not all(
            isinstance(name, str) and name not in self._label_columns for name in names
        ):
            raise ValueError(
                f"data.group_by: expected a column, not data.label's, or a list of them, got {shown(group_by)}"
            )
        whole = [columns[0] if len(columns) == 1 else None for columns in self._texts.values()]  # texts of one column
        fields = dict(zip(whole, self.text_fields, strict=True))
        return {name: fields.get(name, f"group_by/{name}") for name in names}

    def _read(self) -> dict[str, Dataset]:
        in_train = {**dict.fromkeys(self._groups, "data.group_by"), **self._columns}
        files = {
            split: read_table(
                file, in_train if split == "train" else self._columns, option=f"data.{split}", dialect=self._dialect
            )
            for split, file in self._files.items()
        }
        column = self._label_columns[0]
        marked = (
            self.kind == "classification"
            and self._unlabelled != "keep"
            and marks_no_label(files["train"], column, self._given_names)
        )
        tables = {split: self._used_rows(table, marked) for split, table in files.items()}
        labels: dict[str, list[int]] | dict[str, list[float]] | dict[str, Sets]
        if self.kind == "regression":
            labels = {split: scores(table, column) for split, table in tables.items()}
            if len({*labels["train"]}) == 1:
                raise ValueError(
                    f"data.label: {tables['train'].path}: all rows have the score {labels['train'][0]:g} in column "
                    f"{shown(column)}: there is nothing to learn"
                )
        elif self.kind == "multi_label":
            labels = self._read_sets(tables)
        else:
            labels = self._number_classes(tables)
        splits = {split: self._rows(table, labels[split], split == "train") for split, table in tables.items()}
        return splits if len(splits) > 1 else self._carve_validation(splits["train"])

    def _used_rows(self, table: Table, marked: bool) -> Table:
        """Leave out rows without a label, and all but a draw of ``max_rows``, in the order of the file."""
        if self.kind == "multi_label":
            table = labelled_rows(table, self._label_columns, self._unlabelled)
        else:
            table = with_labels(table, self._label_columns[0], self._unlabelled, marked=marked)
        if self._max_rows is None or self._max_rows >= len(table.lines):
            return table
        drawn = np.random.Generator(np.random.PCG64([self._split_seed, 2])).permutation(len(table.lines))
        _log.info("%s: %d of %d rows are read (data.max_rows)", table.path, self._max_rows, len(table.lines))
        return table.taken(np.sort(drawn[: self._max_rows]).tolist())

    def _rows(self, table: Table, labels: list[int] | list[float] | Sets, in_train: bool) -> Dataset:
        text, answer = Value("string"), Value("int64" if self.kind == "classification" else "float32")
        columns: dict[str, tuple[list[Any], Any]] = {}
        for field, (option, sources) in zip(self.text_fields, self._texts.items(), strict=True):
            parts = [read_texts(table, column, option) for column in sources]
            columns[field] = [self._separator.join(texts) for texts in zip(*parts, strict=True)], text
            for column, texts in zip(sources, parts, strict=True) if in_train else ():
                warn_of_odd_texts(texts, table, column, option)
        sets = List(answer, length=len(self._label_names)) if self.kind == "multi_label" else None
        columns[self.label_field] = labels, sets or answer
        columns["line"] = list(table.lines), Value("int64")
        for column, field in self._groups.items() if in_train else ():
            columns.setdefault(field, (group_values(table, column), text))
        features = Features({field: kind for field, (_, kind) in columns.items()})
        return Dataset.from_dict({field: values for field, (values, _) in columns.items()}, features=features)

    def _read_sets(self, tables: Mapping[str, Table]) -> dict[str, Sets]:
        columns = self._label_columns
        if len(columns) > 1:
            self._label_names, sets = columns, sets_of_columns(tables, columns)
        else:
            self._label_names, sets = sets_of_names(tables, columns[0], self._label_separator, self._given_names)
        warn_of_constant_labels(self._label_names, sets["train"], tables["train"].path)
        return sets

    def _number_classes(self, tables: Mapping[str, Table]) -> dict[str, list[int]]:
        column = self._label_columns[0]
        names = {split: class_names(table, column) for split, table in tables.items()}
        refuse_two_spellings(tables, names)
        train = tables["train"]
        if self._given_names:
            known = self._given_names
            names = given_names(tables, names, known, column)
        else:
            known = known_names(train, column, names["train"])
        labels = {split: number_classes(names[split], known, table, column) for split, table in tables.items()}
        path, num_rows = train.path, len(names["train"])
        if len(set(labels["train"])) < 2:
            raise ValueError(
                f"data.label: {path}: expected at least two classes in column {shown(column)}, all {num_rows} rows "
                f"have {shown(names['train'][0])}"
            )
        told = self._given_names or column in train.stored_names
        if not told and len(known) > max(MANY_CLASSES, num_rows / 2):
            raise ValueError(
                f"data.label: {path}: {len(known)} different labels in {num_rows} rows of column {shown(column)}: is "
                "it the label? For scores say data.kind=regression, for several labels a text data.kind=multi_label"
            )
        if not told:
            warn_of_scores(known, train.path, column)
        self._label_names = known
        return labels

    def _carve_validation(self, train: Dataset) -> dict[str, Dataset]:
        units = (self.group_by or SAME_TEXT).units(train)
        drawn = draw_units(
            units, max(1, round(self._validation_share * len(train))), salt=f"{self._split_seed}/validation"
        )
        held_out = sorted(row for unit in drawn for row in unit.rows)
        if not held_out:
            raise ValueError(
                f"data.train: {self._files['train']} has {len(units)} independent texts, too few to hold out rows for "
                "validation; name a file with data.validation="
            )
        staying = sorted(set(range(len(train))) - set(held_out))
        own = [*self.text_fields, self.label_field, "line"]
        return {"train": train.select(staying), "validation": train.select(held_out).select_columns(own)}


def _columns_of(option: str, value: Any) -> tuple[str, ...]:
    """Return the columns that an option names: one, or a list."""
    columns = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    if not columns:
        raise ValueError(f"{option}: expected a column, or a list of columns, got []")
    for column in columns:
        _check_strings("the name of a column", {option: column})
    return columns


def _check_strings(what: str, given: Mapping[str, Any]) -> None:
    for option, value in given.items():
        if not isinstance(value, str | Path) or not str(value):
            quoted = f"; as text that is {option}=\\'{value}\\'" if isinstance(value, int) else ""
            raise ValueError(f"{option}: expected {what}, got {shown(value)}{quoted}")
