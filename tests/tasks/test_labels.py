"""One class has one name however it is written; names that a Parquet file stores are kept with their order."""

import itertools
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from eat.tasks.file import FileTask

ONE, ZERO = ("1", "1.0", " 1", "+1", "1."), ("0", "0.0", "-0", " 0.0 ", "0")
TRUE, FALSE = ("true", "True", "TRUE"), ("False", "FALSE", "false")


def write(path: Path, labels: list[Any]) -> Path:
    texts = [f"t{i}" for i in range(len(labels))]
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"text": texts, "label": labels}), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": t, "label": v}) + "\n" for t, v in zip(texts, labels, strict=True)))
    else:
        mark = "," if path.suffix == ".csv" else "\t"
        path.write_text(f"text{mark}label\n" + "".join(f"{t}{mark}{v}\n" for t, v in zip(texts, labels, strict=True)))
    return path


def read(train: Path, other: Path) -> tuple[tuple[str, ...], list[int], list[int]]:
    task = FileTask(train, validation=other)
    splits = task.load()
    return task.label_names, splits["train"]["label"][:], splits["validation"]["label"][:]


@pytest.mark.parametrize(("one", "zero", "names"), [(ONE, ZERO, {"0", "1"}), (TRUE, FALSE, {"False", "True"})])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_one_class_within_a_file(one, zero, names, suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"x{suffix}", [*one, *zero])
    assert read(path, path) == (
        tuple(sorted(names)),
        [1] * len(one) + [0] * len(zero),
        [1] * len(one) + [0] * len(zero),
    )


INTEGERS = [("x.csv", ["0", "1"]), ("x.tsv", ["0.0", "1.0"]), ("x.jsonl", [0, 1]), ("y.jsonl", [0.0, 1.0])]
INTEGERS += [("z.jsonl", ["0", " 1.0"]), ("x.parquet", [0, 1]), ("y.parquet", [0.0, 1.0]), ("z.parquet", ["0", "1"])]
BOOLEANS = [("x.csv", ["false", "true"]), ("x.tsv", ["FALSE", "TRUE"]), ("x.jsonl", [False, True])]
BOOLEANS += [("y.jsonl", ["False", "True"]), ("x.parquet", [False, True]), ("y.parquet", ["false", "True"])]


@pytest.mark.parametrize("ways", [INTEGERS, BOOLEANS])
def test_one_class_across_files_of_all_formats(ways: list[tuple[str, list]], tmp_path: Path) -> None:
    for number, ((name, labels), (other, others)) in enumerate(itertools.permutations(ways, 2)):
        folder = tmp_path / str(number)
        (folder / "train").mkdir(parents=True)
        names, trained, held_out = read(write(folder / "train" / name, labels), write(folder / other, others[::-1]))
        assert (len(names), trained, held_out) == (2, [0, 1], [1, 0]), (name, other)


def test_names_are_kept_as_written_where_there_is_one_way(tmp_path: Path) -> None:
    for labels in (
        ["False", "Mixed", "True"],
        ["FALSE", "TRUE"],
        ["false", "true"],
        ["007", "008"],
        ["half-true", "true"],
        ["1.10", "1.20"],
        ["Yes", "no"],
    ):
        path = write(tmp_path / "x.csv", labels)
        assert read(path, path)[0] == tuple(labels)


@pytest.mark.parametrize(
    "labels",
    [["01", "1", "2"], ["1.5", "1.50"], ["true", "1", "0"], ["False", "0"], ["1e1", "10"], ["1_0", "10", "010"]],
)
def test_one_value_in_two_ways_is_refused_where_it_may_be_two(labels: list[str], tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", [*labels, "other"])
    with pytest.raises(
        ValueError, match=r"data\.label: '.*' \(.*x\.csv, line \d\) and '.*' \(.*line \d\) are one value"
    ):
        read(path, path)
    train, other = write(tmp_path / "x.csv", ["01", "02"]), write(tmp_path / "y.parquet", [1, 2])
    with pytest.raises(ValueError, match=r"'01' \(.*x\.csv, line 2\) and '1' \(.*y\.parquet, row 1\) are one value"):
        read(train, other)


def test_large_numbers_are_told_apart(tmp_path: Path) -> None:
    labels = ["9007199254740992", "9007199254740993", "9" * 5000]
    path = write(tmp_path / "x.csv", labels)
    assert read(path, path)[0] == tuple(labels)


@pytest.mark.parametrize(
    ("labels", "warned"), [(["4.5", "1.5", "3"], True), (["1", "2.0", "3"], False), (["1.5", "v2", "v3"], False)]
)
def test_numbers_that_are_no_integers_look_like_scores(
    labels: list[str], warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = FileTask(write(tmp_path / "x.csv", labels * 5))
    assert task.num_labels == 3
    assert ("numbers such as '1.5', which are taken for 3 classes; for scores say data.kind=" in caplog.text) == warned


def test_labels_that_differ_in_capitals_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train, other = write(tmp_path / "x.csv", ["spam", "ham", "Spam"]), write(tmp_path / "y.csv", ["ham"])
    assert read(train, other)[0] == ("Spam", "ham", "spam")
    assert "'Spam' (" in caplog.text and "x.csv, line 4) and 'spam' (" in caplog.text
    with pytest.raises(ValueError, match=r"does not know, the first in line 2: 'Spam'; .* \(did you mean 'spam'\?\)"):
        read(write(tmp_path / "x.csv", ["spam", "ham"]), write(tmp_path / "y.csv", ["Spam"]))


@pytest.mark.parametrize("missing", ["", "  ", "NaN", "nan", "<NA>"])
@pytest.mark.parametrize(
    ("name", "place"), [("x.csv", "line 4"), ("x.tsv", "line 4"), ("x.jsonl", "line 3"), ("x.parquet", "row 3")]
)
def test_rows_without_label_are_named(name: str, place: str, missing: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, ["a", "b", missing, "a"])
    with pytest.raises(
        ValueError, match=rf"1 of 4 rows have no label in column 'label' .* {place}; data.unlabelled=drop"
    ):
        read(path, path)


@pytest.mark.parametrize(("name", "labels"), [("x.jsonl", [1, None]), ("x.jsonl", [1.0, float("nan")])])
def test_null_and_nan_are_no_labels(name: str, labels: list, tmp_path: Path) -> None:
    for path in (write(tmp_path / name, labels), write(tmp_path / "x.parquet", labels)):
        with pytest.raises(
            ValueError, match=r"1 of 2 rows have no label in column 'label' .*(line|row) 2; data.unlabelled"
        ):
            read(path, path)


NAMES = ["pos", "neg", "neutral"]


def class_label(path: Path, numbers: list, names: list[str] = NAMES) -> Path:
    rows = {"text": [f"t{i}" for i in range(len(numbers))], "label": numbers}
    Dataset.from_dict(rows, Features(text=Value("string"), label=ClassLabel(names=names))).to_parquet(path)
    return path


def test_names_of_a_class_label_are_kept(tmp_path: Path) -> None:
    train = class_label(tmp_path / "x.parquet", [1, 0, 1])
    assert read(train, train) == (tuple(NAMES), [1, 0, 1], [1, 0, 1])
    other_order = class_label(tmp_path / "y.parquet", [0, 2, 1], ["neutral", "neg", "pos"])
    assert read(train, other_order)[2] == [2, 0, 1]
    assert read(train, write(tmp_path / "x.csv", ["neg", "pos"]))[2] == [1, 0]
    with pytest.raises(
        ValueError, match=r"does not know, the first in line 2: '0'; training has \['pos', 'neg', 'neut"
    ):
        read(train, write(tmp_path / "x.csv", ["0", "1"]))


def test_class_numbers_must_have_a_name(tmp_path: Path) -> None:
    path = class_label(tmp_path / "x.parquet", [0, -1, 1])
    with pytest.raises(ValueError, match=r"1 of 3 rows have no label .* or -1, which is none of .* row 2; data.un"):
        read(path, path)
    table = pq.read_table(class_label(tmp_path / "x.parquet", [0, 1]))
    pq.write_table(table.set_column(1, "label", pa.array([0, 7])).replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(ValueError, match=r"column 'label', row 2: expected a class number below 3 or null, got 7"):
        read(path, path)
    for metadata, message in (
        (b"[1]", r"the features stored in its metadata are broken"),
        (b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", "a"]}}}}', r"different class names"),
        (
            b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": [1]}}}}',
            r"expected different class names",
        ),
    ):
        pq.write_table(table.replace_schema_metadata({b"huggingface": metadata}), path)
        with pytest.raises(ValueError, match=message):
            read(path, path)


@pytest.mark.parametrize("row_group_size", [None, 2])
def test_categories_are_kept_in_their_order(row_group_size: int | None, tmp_path: Path) -> None:
    labels = pd.Categorical(["low", "high", "low", "high"], categories=["low", "middle", "high"], ordered=True)
    path = tmp_path / "x.parquet"
    pd.DataFrame({"text": list("abcd"), "label": labels}).to_parquet(path, row_group_size=row_group_size)
    assert read(path, path) == (("low", "middle", "high"), [0, 2, 0, 2], [0, 2, 0, 2])
    pq.write_table(pa.table({"text": list("abc"), "label": pa.array(["z", "a", "z"]).dictionary_encode()}), path)
    assert read(path, path) == (("z", "a"), [0, 1, 0], [0, 1, 0])
    numbers = pd.Categorical([3, 1, 3, 1], categories=[3, 2, 1])
    pd.DataFrame({"text": list("abcd"), "label": numbers}).to_parquet(path)
    assert read(path, path)[0] == ("1", "3")


def test_stored_names_of_many_classes_are_labels(tmp_path: Path) -> None:
    names = [f"intent {i}" for i in range(60)]
    path = class_label(tmp_path / "x.parquet", list(range(60)), names)
    assert read(path, path)[0] == tuple(names)
