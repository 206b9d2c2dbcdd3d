"""Every public data set in a made-up copy of its layout, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from eat.tasks import TASKS, build_task, describe_rows
from eat.tasks.public import PublicTask

PUBLIC = sorted(set(TASKS) - {"file", "demo"})


def public(name: str) -> PublicTask:
    task = build_task({"name": name})
    assert isinstance(task, PublicTask)
    return task


def write(task: PublicTask, root: Path, **changes: Any) -> None:
    """Write three rows per split, in the columns and label numbers of the hub."""
    columns: dict[str, list] = {column: ["One .", "two ,", ""] for column in task.source_columns}
    columns[task.source_label] = [0, 1, task.num_labels - 1] if task.label_names else [0.0, 2.5, 5.0]
    columns |= {"idx": [0, 1, 2]} | changes
    folder = root / task.source.folder
    folder.mkdir(parents=True, exist_ok=True)
    for split in task.official_rows:
        Dataset.from_dict(columns).to_parquet(folder / f"{split}.parquet")


@pytest.mark.parametrize("name", PUBLIC)
def test_columns_are_the_same_for_every_task(name: str, tmp_path: Path) -> None:
    task = public(name)
    write(task, tmp_path)
    splits = task.load(root=tmp_path)
    assert list(splits) == list(task.official_rows)
    assert next(iter(splits)) == "train"
    for split in splits.values():
        assert split.column_names == [*task.text_fields, task.label_field]
        assert split["text"][:] == ["One .", "two ,", ""]
        assert split.features["label"] == Value("int64" if task.label_names else "float32")
        assert split["label"][:] == ([0, 1, task.num_labels - 1] if task.label_names else [0.0, 2.5, 5.0])


def test_reported_splits_and_primary_metrics() -> None:
    reported = {name: tuple(public(name).official_rows)[1:] for name in PUBLIC}
    assert reported.pop("mnli") == ("validation_matched", "validation_mismatched")
    assert reported.pop("imdb") == ("test",)
    assert reported.pop("clinc150") == ("validation", "test")
    assert set(reported.values()) == {("validation",)}
    primary = {name: public(name).metrics[0] for name in PUBLIC}
    assert (primary["cola"], primary["mrpc"], primary["stsb"]) == ("matthews", "f1", "pearson")
    assert {primary[name] for name in ("sst2", "qqp", "mnli", "rte", "qnli", "imdb", "clinc150")} == {"accuracy"}


def test_clinc150_knows_its_classes() -> None:
    names = public("clinc150").label_names
    assert (len(names), len(set(names)), names.index("oos")) == (151, 151, 42)


def test_class_numbers_follow_names_whatever_the_order_of_the_source(tmp_path: Path) -> None:
    task = replace(public("clinc150"), label_names=("alarm", "oos", "weather"))
    write(task, tmp_path, intent=[0, 1, 2])
    labels = tmp_path / task.source.folder / "labels.json"
    labels.write_text('{"names": ["weather", "alarm", "oos"]}')
    assert task.load(root=tmp_path)["train"]["label"][:] == [2, 0, 1]
    labels.write_text('{"names": ["weather", "alarm", "timer"]}')
    with pytest.raises(ValueError, match=r"clinc150/train: expected the 3 label names .* differ: \['oos', 'timer'\]"):
        task.load(root=tmp_path)


def test_names_stored_with_the_column_count_too(tmp_path: Path) -> None:
    task = public("imdb")
    write(task, tmp_path)
    features = Features({"text": Value("string"), "label": ClassLabel(names=["pos", "neg"])})
    train = Dataset.from_dict({"text": ["good", "bad"], "label": [0, 1]}, features=features)
    train.to_parquet(tmp_path / "imdb" / "train.parquet")
    loaded = task.load(root=tmp_path)["train"]
    assert loaded["label"][:] == [1, 0]
    assert loaded.features["label"] == Value("int64")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("sst2", {"label": [0, -1, 7]}, r"sst2/train: 2 rows have a label outside 0\.\.1, the first in row 2: -1"),
        ("sst2", {"label": [0, None, 1]}, r"sst2/train: column 'label' must hold integers without nulls"),
        (
            "sst2",
            {"label": ["a", "b", "c"]},
            r"column 'label' must hold integers .*, got string; it was read from",
        ),
        ("sst2", {"label": [[0], [1], [0]]}, r"sst2/train: column 'label' must hold integers without nulls, got list"),
        (
            "sst2",
            {"label": [0.0, 1.0, 0.0]},
            r"sst2/train: column 'label' must hold integers .*, got double",
        ),
        ("sst2", {"sentence": [], "label": [], "idx": []}, r"train\.parquet has no rows"),
        ("rte", {"sentence2": [["a"], ["b"], ["c"]]}, r"rte/train: column 'sentence2' must hold text, got list"),
        ("stsb", {"label": [[0.0], [1.0], [2.0]]}, r"stsb/train: scores must be finite .*, column 'label' has list"),
        ("stsb", {"label": ["a", "b", "c"]}, r"stsb/train: scores must be finite .*, column 'label' has string"),
        ("rte", {"sentence2": ["a", None, None]}, r"rte/train: 2 rows have no text in column 'sentence2'"),
        ("rte", {"sentence2": [1, 2, 3]}, r"rte/train: column 'sentence2' must hold text, got int64"),
        ("stsb", {"label": [0.0, float("nan"), 1.0]}, r"stsb/train: scores must be finite numbers without nulls"),
        ("stsb", {"label": [0.0, None, 1.0]}, r"stsb/train: scores must be finite numbers without nulls"),
    ],
)
def test_bad_rows_are_refused(name: str, changes: dict[str, list], message: str, tmp_path: Path) -> None:
    task = public(name)
    write(task, tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        task.load(root=tmp_path)


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    write(replace(public("sst2"), source_columns=("phrase",)), tmp_path)
    message = (
        r"sst2/train: column 'sentence' is missing; there are \['phrase', 'label'.*; it was read from .*glue/sst2$"
    )
    with pytest.raises(ValueError, match=message):
        public("sst2").load(root=tmp_path)


def test_subsets_are_called_subsets() -> None:
    assert describe_rows(public("sst2"), "validation", 872) == "complete"
    assert describe_rows(public("qqp"), "validation", 8_403) == "subset 8,403 of 40,430"
    assert describe_rows(public("sst2"), "train", 70_000) == "70,000 rows, official 67,349"
    assert describe_rows(public("sst2"), "threshold", 500) == "complete"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "sst3"}, r"task\.name: expected one of .* got 'sst3' \(did you mean 'sst2'\?\)"),
        ({"name": "sst2", "root": "x"}, r"task\.root: task 'sst2' takes no arguments, got 'root'"),
        ({"name": "file", "trian": "x.csv"}, r"task\.trian: .* got 'trian' \(did you mean 'train'\?\)"),
        ({"name": "file"}, r"task\.train: task 'file' needs a value for \['train'\]"),
    ],
)
def test_a_misspelt_task_fails_at_once(spec: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_task(spec)


@pytest.mark.data
@pytest.mark.parametrize("name", PUBLIC)
def test_real_data_loads(name: str, tmp_path: Path) -> None:
    task = public(name)
    rows = {split: dataset.num_rows for split, dataset in task.load(cache_dir=tmp_path).items()}
    assert rows.keys() == task.official_rows.keys()
    assert all(0 < count <= task.official_rows[split] for split, count in rows.items())
    if name not in ("qqp", "mnli", "qnli"):
        assert rows == dict(task.official_rows)
