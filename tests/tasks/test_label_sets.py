"""Labels of which a text has any number: in columns of 0 and 1, and in one column as lists or separated names."""

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from eat.data.splits import carve
from eat.tasks.file import FileTask
from eat.tasks.units import row_strata
from eat.testing import check_task

NAMES = ["angry", "funny", "rude"]
ROWS = [{"text": f"text {i}", "labels": [name for k, name in enumerate(NAMES) if i >> k & 1]} for i in range(80)]
EXPECTED = [[float(i >> k & 1) for k in range(3)] for i in range(80)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def columns(path: Path, values: dict[str, list[Any]]) -> Path:
    lines = [",".join(map(str, row)) for row in zip(*values.values(), strict=True)]
    path.write_text("\n".join([",".join(values), *lines]) + "\n")
    return path


def read(file: Path, **options: Any) -> tuple[tuple[str, ...], list[list[float]]]:
    task = FileTask(file, validation=file, **options)
    assert task.kind == "multi_label" and task.metrics[0] == "micro_f1"
    return task.label_names, task.load()["train"]["label"][:]


def test_every_way_of_writing_them_gives_the_same_labels(tmp_path: Path) -> None:
    by_column = {"text": [row["text"] for row in ROWS]}
    written = {"angry": ("0", "1.0"), "funny": ("false", "TRUE"), "rude": ("0", "1")}
    by_column |= {name: [written[name][int(row[k])] for row in EXPECTED] for k, name in enumerate(NAMES)}
    expected = (tuple(NAMES), EXPECTED)
    assert read(columns(tmp_path / "columns.csv", by_column), label=NAMES) == expected
    one = {"label": "labels", "kind": "multi_label"}
    assert read(write(tmp_path / "lists.jsonl", ROWS), **one) == expected
    joined = columns(tmp_path / "x.csv", {"text": by_column["text"], "labels": [" ; ".join(r["labels"]) for r in ROWS]})
    assert read(joined, **one, label_separator=";") == read(joined, **one, label_separator="semicolon") == expected
    text = [{"text": row["text"], "labels": json.dumps(row["labels"])} for row in ROWS]
    assert read(write(tmp_path / "text.jsonl", text), **one) == expected
    parquet = tmp_path / "labels.parquet"
    Dataset.from_list(ROWS).to_parquet(parquet)
    assert read(parquet, **one) == expected
    order = [2, 0, 1]
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=[NAMES[k] for k in order]))})
    Dataset.from_list(ROWS, features=features).to_parquet(parquet)
    names, rows = read(parquet, **one)
    assert names == ("rude", "angry", "funny") and rows == [[row[k] for k in order] for row in EXPECTED]
    categories = [",".join(row["labels"]) for row in ROWS]  # of whole cells, which are no labels
    pq.write_table(pa.table({"text": by_column["text"], "labels": pa.array(categories).dictionary_encode()}), parquet)
    assert read(parquet, **one) == expected
    names, rows = read(tmp_path / "lists.jsonl", **one, label_names=["rude", "angry", "funny", "sad"])
    assert names[3] == "sad" and rows[7] == [1.0, 1.0, 1.0, 0.0]


def test_the_task_keeps_its_promises(tmp_path: Path) -> None:
    validation = write(tmp_path / "v.jsonl", [{**row, "text": f"other {row['text']}"} for row in ROWS])
    options = {"train": str(write(tmp_path / "x.jsonl", ROWS)), "label": "labels", "kind": "multi_label"}
    check_task("file", options | {"validation": str(validation)})
    check_task("file", options)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"a": 1, "b": 2}], {}, r"^data.label: .*line 1: expected 0 or 1 in column 'b', .* got 2"),
        ([{"a": 1, "b": "yes"}], {}, r"line 1: expected 0 or 1 in column 'b', .* got 'yes'"),
        (
            [{"a": 1, "b": 0}, {"a": 1, "b": None}],
            {},
            r"1 of 2 rows lack a label .*, the first in line 2, column 'b'; da",
        ),
        ([{"a": 1}], {}, r"^data.label: .* has no column 'b'"),
        ([{"a": 1}], {"label": ["a"]}, r"^data.label: expected .*two or more that hold 0 or 1, got \['a'\]; .*label=a"),
        ([{"a": 1}], {"label": ["a", "a"]}, r"expected different columns"),
        ([{"a": 1}], {"kind": "regression"}, r"^data.label: expected one column with data.kind=regression"),
        ([{"a": 1}], {"label_names": ["x", "y"]}, r"^data.label_names: expected null where data.label names a column"),
        ([{"a": ["x"]}, {"a": None}], {"label": "a"}, r"1 of 2 rows lack a label .*line 2, column 'a'"),
        (
            [{"a": ["x"]}, {"a": {}}],
            {"label": "a"},
            r"line 2: expected names with ',' between .* in column 'a', got \{\}",
        ),
        ([{"a": "x,y"}, {"a": ["x", 1.5]}], {"label": "a"}, r"line 2: expected names .* got \['x', 1.5\]"),
        (
            [{"a": "x,y"}, {"a": "['x']"}],
            {"label": "a"},
            r"line 2: expected .* a list of names as JSON has it.*\['x'\]",
        ),
        ([{"a": "x;y"}], {"label": "a"}, r"expected two labels or more .* got \['x;y'\]; .* data.label_separator=','"),
        ([{"a": "x"}], {"label": "a", "label_separator": ""}, r"^data.label_separator: expected text between names"),
        (
            [{"a": "x;y"}],
            {"label": "a", "kind": "classification", "label_separator": ";"},
            r"^data.label_separator: expected data.kind=multi_label with names in one column, .* got ';' without",
        ),
        (
            [{"a": 1, "b": 0}],
            {"label_separator": ";"},
            r"^data.label_separator: expected data.kind=multi_label with names",
        ),
        ([{"a": "x,z"}], {"label": "a", "label_names": ["x", "y"]}, r"training does not know the label 'z' .*'x', 'y'"),
    ],
)
def test_what_is_no_label_set_is_refused(rows: list, options: dict, message: str, tmp_path: Path) -> None:
    file = write(tmp_path / "x.jsonl", [{"text": f"t{i}", **row} for i, row in enumerate(rows)])
    options = {"label": ["a", "b"], "kind": "multi_label"} | options
    with pytest.raises(ValueError, match=message) as caught:
        FileTask(file, validation=file, **options).load()
    assert "\n" not in str(caught.value)


def test_rows_without_labels_can_be_left_out_and_labels_of_all_or_none_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"text": f"t{i}", "a": i % 2, "b": 1, "c": None if i == 3 else 0} for i in range(8)]
    file = write(tmp_path / "x.jsonl", rows)
    with caplog.at_level(logging.INFO):
        splits = FileTask(file, validation=file, label=["a", "b", "c"], unlabelled="drop").load()
    assert len(splits["train"]) == 7
    assert "1 of 8 rows have no label and are left out" in caplog.text
    assert "all rows, or none, have ['b', 'c']: nothing can be learned there" in caplog.text


def test_minus_one_says_that_a_label_is_not_known(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "a": -1 if i == 5 else i % 2, "b": (i // 2) % 2} for i in range(8)]
    file = write(tmp_path / "x.jsonl", rows)
    dropped = FileTask(file, validation=file, label=["a", "b"], unlabelled="drop").load()["train"]
    assert dropped["line"][:] == [1, 2, 3, 4, 5, 7, 8]
    with pytest.raises(ValueError, match=r"1 of 8 rows lack a label .*-1.* line 6, column 'a'; data.unlabelled=drop"):
        FileTask(file, validation=file, label=["a", "b"], unlabelled="refuse").load()
    with pytest.raises(ValueError, match=r"line 6: expected 0 or 1 .*, got -1"):
        FileTask(file, validation=file, label=["a", "b"], unlabelled="keep").load()


def test_a_validation_label_that_training_does_not_know_is_named(tmp_path: Path) -> None:
    train = write(tmp_path / "x.jsonl", ROWS)
    other = write(tmp_path / "v.jsonl", [{"text": "a", "labels": ["funny"]}, {"text": "b", "labels": ["fuuny"]}])
    with pytest.raises(ValueError, match=r"v.jsonl, line 2: training does not know the label 'fuuny' .*mean 'funny'"):
        FileTask(train, validation=other, label="labels", kind="multi_label").load()


def test_draws_keep_rare_labels_in_proportion(tmp_path: Path) -> None:
    rows = [{"text": f"t {i}", "common": int(i % 2), "rare": int(i % 20 == 0)} for i in range(1000)]
    task = FileTask(write(tmp_path / "x.jsonl", rows), validation=tmp_path / "x.jsonl", label=["common", "rare"])
    train = task.load()["train"]
    assert row_strata(train)[:3] == [1, 0, None]
    held_out = carve(task, train, threshold_examples=100, certification_examples=100).threshold
    assert [sum(column) for column in zip(*held_out["label"][:], strict=True)] == [50, 5]
