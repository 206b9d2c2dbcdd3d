"""What a file task is told of its file: joined texts, a share, rows without label, names for numbers, packed files."""

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from eat.tasks.file import FileTask

ROWS = [{"title": f"t{i}", "body": f"b{i}", "more": f"m{i}", "label": "ab"[i % 2]} for i in range(40)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows), ""]))
    return path


def labelled(path: Path, labels: list[Any]) -> Path:
    return write(path, [{"text": f"t{i}", "label": label} for i, label in enumerate(labels)])


def test_texts_of_several_columns_are_joined_by_what_is_said(tmp_path: Path) -> None:
    file = write(tmp_path / "x.csv", ROWS)
    train = FileTask(file, validation=file, text=["title", "body"], text_pair="more", separator=" | ").load()["train"]
    assert train["text"][:2] == ["t0 | b0", "t1 | b1"] and train["text_pair"][:2] == ["m0", "m1"]
    assert FileTask(file, validation=file, text=["more", "title"]).load()["train"]["text"][0] == "m0 t0"
    grouped = FileTask(file, text=["title", "body"], group_by="title")
    assert grouped.load()["train"]["group_by/title"][:] == [
        text.split()[0] for text in grouped.load()["train"]["text"][:]
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": []}, r"^data.text: expected a column, or a list of columns, got \[\]"),
        ({"text": ["title", 3]}, r"^data.text: expected the name of a column, got 3"),
        ({"text": ["title", "title"]}, r"expected different columns"),
        ({"text": ["title", "body"], "text_pair": "body"}, r"expected different columns"),
        ({"text": ["title", "label"]}, r"expected different columns"),
        ({"text": ["title", "bdy"]}, r"^data.text: .* no column 'bdy'; .*did you mean data.text=body"),
        ({"text": "title", "separator": 3}, r"^data.separator: expected text"),
        ({"text": "title", "validation_share": 0.0}, r"^data.validation_share: expected a number in \(0, 1\), got 0.0"),
        ({"text": "title", "validation_share": 1.0}, r"^data.validation_share: expected a number in \(0, 1\)"),
        ({"text": "title", "validation_share": 0.5, "test": "x.csv"}, r"expected null where data.test names"),
        ({"text": "title", "max_rows": 0}, r"^data.max_rows: expected an integer of 1 or more, got 0"),
        ({"text": "title", "unlabelled": "skip"}, r"^data.unlabelled: expected one of .*'refuse'\], got 'skip'"),
        ({"text": "title", "label_names": "a"}, r"^data.label_names: expected a list, such as \[negative,positive\]"),
        ({"text": "title", "label_names": ["a"]}, r"^data.label_names: expected two or more different names"),
        ({"text": "title", "label_names": ["a", "a"]}, r"^data.label_names: expected two or more different names"),
        ({"text": "title", "label_names": ["a", True]}, r"^data.label_names: expected names"),
        ({"text": "title", "label_names": ["a", "b"], "kind": "regression"}, r"^data.label_names: expected null"),
    ],
)
def test_what_cannot_be_is_refused_by_its_option(options: dict, message: str, tmp_path: Path) -> None:
    file = write(tmp_path / "x.csv", ROWS)
    with pytest.raises(ValueError, match=message):
        _unchecked(file, options).load()


def _unchecked(file: Path, options: dict) -> FileTask:
    """Build as outside of tests, where no annotation answers in the task's place."""
    task = FileTask.__new__(FileTask)
    getattr(FileTask.__init__, "__wrapped__", FileTask.__init__)(task, file, **options)
    return task


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_share_of_the_rows_is_held_out_class_by_class(share: float, tmp_path: Path) -> None:
    file = write(tmp_path / "x.csv", ROWS)
    splits = FileTask(file, text="body", validation_share=share).load()
    assert len(splits["validation"]) == round(share * 40) and len(splits["train"]) == 40 - round(share * 40)
    assert sum(splits["validation"]["label"][:]) == round(share * 20)
    if share == 0.1:
        default = FileTask(file, text="body").load()["validation"]
        assert default["text"][:] == splits["validation"]["text"][:]


def test_rows_without_a_label_are_counted_or_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    empty = labelled(tmp_path / "x.csv", ["a", "b", "", "a", "nan", "b"] * 5)
    with pytest.raises(ValueError, match=r"10 of 30 rows have no label .* line 4; data.unlabelled=drop leaves"):
        FileTask(empty).load()
    train = FileTask(empty, validation=empty, unlabelled="drop").load()["train"]
    assert len(train) == 20 and train["line"][:4] == [2, 3, 5, 7]
    assert "10 of 30 rows have no label and are left out" in caplog.text
    with pytest.raises(ValueError, match="none of 3 rows has a label in 'label'"):
        FileTask(labelled(tmp_path / "y.csv", ["", "nan", ""]), unlabelled="drop").load()
    scores = labelled(tmp_path / "z.csv", [0.5, -1, "", 1, 0, 2])
    kept = FileTask(scores, validation=scores, kind="regression", unlabelled="drop").load()["train"]
    assert kept["label"][:] == [0.5, -1, 1, 0, 2], "a score may be -1"


def test_minus_one_beside_0_and_1_marks_rows_without_a_label(tmp_path: Path) -> None:
    snli = labelled(tmp_path / "x.csv", [0, 1, 2, -1] * 5)
    with pytest.raises(ValueError, match=r"5 of 20 rows have -1 .* line 5; data.unlabelled=drop .*keep"):
        FileTask(snli, unlabelled="refuse").load()
    assert FileTask(snli, unlabelled="drop").label_names == ("0", "1", "2")
    assert FileTask(snli, unlabelled="keep").label_names == FileTask(snli).label_names == ("-1", "0", "1", "2")
    assert FileTask(labelled(tmp_path / "y.csv", [-1, 1] * 9), unlabelled="refuse").label_names == ("-1", "1")
    names = FileTask(labelled(tmp_path / "z.csv", [1, -1, 1] * 5 + [0]), unlabelled="drop", label_names=["no", "yes"])
    assert len(names.load()["train"]) + len(names.load()["validation"]) == 11


@pytest.mark.parametrize(
    ("labels", "known"),
    [
        (["pos", "neg", "-1"], ("neg", "pos")),
        ([1, 2, 3, -1], ("1", "2", "3")),
        ([-2, -1, 1, 2], ("-2", "-1", "1", "2")),
        ([-1, 1], ("-1", "1")),
    ],
)
def test_the_other_classes_say_whether_minus_one_is_one(tmp_path: Path, labels: list[Any], known: Any) -> None:
    file = labelled(tmp_path / "x.csv", labels * 5)
    assert FileTask(file, unlabelled="drop").label_names == known
    assert FileTask(file, unlabelled="keep").label_names == tuple(sorted(map(str, labels), key=known_order(labels)))
    if "-1" not in known:
        with pytest.raises(ValueError, match=r"5 of \d+ rows have -1 in column 'label'"):
            FileTask(file, unlabelled="refuse").load()


def known_order(labels: list[Any]) -> Any:
    return float if all(isinstance(label, int) for label in labels) else str


@pytest.mark.parametrize("validation", [[-1, 0, 2], [-1, 1, 2], [2, -1, 2]])
def test_the_training_file_says_so_for_all_files(tmp_path: Path, validation: list[int]) -> None:
    train = labelled(tmp_path / "x.csv", [0, 1, 2] * 5)
    held_out = labelled(tmp_path / "y.csv", validation * 3)
    rows = FileTask(train, validation=held_out, unlabelled="drop").load()["validation"]
    assert rows["label"][:] == [label for label in validation * 3 if label != -1]
    with pytest.raises(ValueError, match=r"y.csv: 3 of 9 rows have -1"):
        FileTask(train, validation=held_out, unlabelled="refuse").load()


def test_one_score_for_all_teaches_nothing(tmp_path: Path) -> None:
    same, other = labelled(tmp_path / "x.csv", [1, 1.0, "1"]), labelled(tmp_path / "y.csv", [1, 1, 1])
    with pytest.raises(ValueError, match=r"x.csv: all rows have the score 1 in column 'label': there is nothing to"):
        FileTask(same, validation=other, kind="regression").load()
    different = labelled(tmp_path / "z.csv", [1, 2, 3])
    assert FileTask(different, validation=other, kind="regression").load()["validation"]["label"][:] == [1, 1, 1]


def test_numbers_get_names_and_names_an_order(tmp_path: Path) -> None:
    numbers = labelled(tmp_path / "x.csv", [0, 1, "1.0", 0] * 5)
    task = FileTask(numbers, validation=numbers, label_names=["neg", "pos"])
    assert task.label_names == ("neg", "pos") and task.load()["train"]["label"][:4] == [0, 1, 1, 0]
    words = labelled(tmp_path / "y.csv", ["a", "b"] * 9)
    ordered = FileTask(words, validation=words, label_names=["b", "a"])
    assert ordered.label_names == ("b", "a") and ordered.load()["train"]["label"][:2] == [1, 0]
    stars = labelled(tmp_path / "z.csv", [1, 2, 3] * 5)
    assert FileTask(stars, validation=stars, label_names=[1, 2, 3]).load()["train"]["label"][:3] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"data.label_names: .*5 rows .* no number from 0 to 2 for .* line 4: '3'"):
        FileTask(stars, label_names=["one", "two", "three"]).load()
    with pytest.raises(ValueError, match=r"data.label_names: .*y.csv: 18 rows .* line 2: 'a'"):
        FileTask(words, label_names=["good", "bad"]).load()


def test_so_many_rows_are_drawn_of_each_file_in_its_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    file = write(tmp_path / "x.csv", sorted(ROWS, key=lambda row: str(row["label"])))
    splits = FileTask(file, validation=file, text="body", max_rows=12).load()
    lines = splits["train"]["line"][:]
    assert len(lines) == len(splits["validation"]) == 12 and lines == sorted(lines)
    assert set(splits["train"]["label"][:]) == {0, 1}, "also of a file that is sorted by label"
    assert "12 of 40 rows are read (data.max_rows)" in caplog.text
    assert FileTask(file, validation=file, text="body", max_rows=12).load()["train"]["line"][:] == lines
    assert len(FileTask(file, validation=file, text="body", max_rows=99).load()["train"]) == 40


@pytest.mark.parametrize("name", ["x.csv.gz", "x.tsv.GZ", "x.jsonl.gz", "x.json.gz", "x.json"])
def test_packed_files_and_arrays_are_read_as_others(name: str, tmp_path: Path) -> None:
    delimiter = "," if "csv" in name else "\t"
    text = "\n".join([delimiter.join(ROWS[0]), *(delimiter.join(row.values()) for row in ROWS), ""])
    if "json" in name:
        text = json.dumps(ROWS) if "jsonl" not in name else "\n".join(map(json.dumps, ROWS))
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.lower().endswith("gz") else text.encode())
    train = FileTask(path, validation=path, text="body").load()["train"]
    assert train["text"][:] == [row["body"] for row in ROWS]
    assert train["line"][0] == (2 if "sv" in name.lower() else 1)


def test_a_packed_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"text,label\n" + b"a,b\n" * 1000)[:-9])
    with pytest.raises(ValueError, match=r"^data.train: .*x.csv.gz is no whole gzip archive"):
        FileTask(path).load()
    path.write_bytes(gzip.compress("text,label\nä,b\n".encode("latin-1")))
    with pytest.raises(ValueError, match=r"line 2: not UTF-8: .*`gunzip -c x.csv.gz \| iconv -f WINDOWS-1252"):
        FileTask(path).load()
