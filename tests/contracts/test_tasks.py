"""Every task in the table keeps its promises, over rows that are made up where it reads files."""

import pytest
from datasets import Dataset

from eat.tasks import TASKS, build_task
from eat.testing import check_task

ROWS_PER_CLASS = 30


def text(column, split, row):
    """A sentence of its own for each split and row."""
    return f"{column} number {row} of the {split} rows , which nobody wrote"


def write_public(task, root):
    """Write what the hub has, in its columns and label numbers."""
    folder = root / task.source.folder
    folder.mkdir(parents=True)
    for split in task.official_rows:
        numbers = range(ROWS_PER_CLASS * max(2, task.num_labels))
        columns = {column: [text(column, split, row) for row in numbers] for column in task.source_columns}
        labels = [row % task.num_labels if task.label_names else row % 11 / 2 for row in numbers]
        Dataset.from_dict({**columns, task.source_label: labels}).to_parquet(folder / f"{split}.parquet")


@pytest.mark.parametrize("name", sorted(set(TASKS) - {"file", "demo"}))
def test_public_task(name, tmp_path):
    write_public(build_task({"name": name}), tmp_path)
    check_task(name, root=tmp_path, cache_dir=tmp_path / "cache")


def test_demo():
    check_task("demo", {"train_rows": 600, "validation_rows": 100})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"text_pair": "other", "group_by": "other"},
        {"kind": "regression", "label": "score"},
        {"validation": None, "group_by": ["topic"]},
    ],
)
def test_file(options, tmp_path):
    for split in ("train", "validation"):
        rows = [
            f"{text('text', split, i)};other {i // 3} of {split};{i // 4};{'ab'[i % 2]};{i / 7}" for i in range(120)
        ]
        (tmp_path / f"{split}.csv").write_text(
            "\n".join(["text;other;topic;label;score", *rows]).replace(",", "").replace(";", ",")
        )
    files = {split: str(tmp_path / f"{split}.csv") for split in ("train", "validation")}
    check_task("file", files | options)
