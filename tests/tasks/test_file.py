"""A user's own file in its four formats, its labels, its carved validation, and all that can be wrong with it."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eat.data.splits import carve
from eat.tasks import build_task
from eat.tasks.file import FileTask
from eat.tasks.units import row_texts
from tests.reference.unchecked import unchecked

ROWS = [{"body": f"text number {i}", "class": ("ham", "spam", "eggs")[i % 3]} for i in range(30)]
COLUMNS = {"text": "body", "label": "class"}


def save(path: Path, rows: list[dict]) -> Path:
    """Write rows in the format of the suffix."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        mark = "," if path.suffix == ".csv" else "\t"
        lines = [mark.join(rows[0]), *(mark.join(str(value) for value in row.values()) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    return path


def labelled(path: Path, labels: list) -> Path:
    return save(path, [{"text": f"t{i}", "label": label} for i, label in enumerate(labels)])


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_reads_every_format(suffix: str, tmp_path: Path) -> None:
    train = save(tmp_path / f"train{suffix}", ROWS)
    validation = save(tmp_path / f"validation{suffix}", ROWS[:5])
    task = build_task({"name": "file", "train": str(train), "validation": str(validation), **COLUMNS})
    assert task.label_names == ("eggs", "ham", "spam")
    assert (task.num_labels, task.text_fields, task.metrics) == (3, ("text",), ("accuracy", "macro_f1"))
    splits = task.load()
    assert splits["train"].column_names == ["text", "label", "line"]
    assert splits["train"]["text"][:] == [row["body"] for row in ROWS]
    assert splits["validation"]["label"][:] == [1, 2, 0, 1, 2]


def test_a_second_text_and_a_test_file(tmp_path: Path) -> None:
    rows = [{"a": f"a{i}", "b": f"b{i}", "label": i % 2} for i in range(6)]
    train, test = save(tmp_path / "x.csv", rows), save(tmp_path / "y.jsonl", rows[:2])
    task = FileTask(train, test=test, text="a", text_pair="b")
    splits = task.load()
    assert list(splits) == ["train", "test"]  # the test file is what is reported: nothing is carved
    assert task.text_fields == ("text", "text_pair")
    columns = {"text": ["a0", "a1"], "text_pair": ["b0", "b1"], "label": [0, 1], "line": [1, 2]}
    assert splits["test"].to_dict() == columns


@pytest.mark.parametrize(
    ("name", "labels", "names"),
    [
        ("x.csv", ["10", "9", "2"], ("2", "9", "10")),
        ("x.csv", ["no", "yes", " yes "], ("no", "yes")),
        ("x.csv", ["10", "9", "b"], ("10", "9", "b")),
        ("x.csv", ["-1", "1", "0"], ("-1", "0", "1")),
        ("x.jsonl", [True, False, True], ("False", "True")),
        ("x.jsonl", ["1", 2, 1], ("1", "2")),
        ("x.parquet", [10, 9, 9], ("9", "10")),
        ("x.parquet", [1.0, 0.0, 1.0], ("0", "1")),
        ("x.parquet", [True, False, True], ("False", "True")),
    ],
)
def test_label_names_are_the_sorted_labels(name: str, labels: list, names: tuple[str, ...], tmp_path: Path) -> None:
    path = labelled(tmp_path / name, labels)
    assert FileTask(path, validation=path).label_names == names


def test_scores(tmp_path: Path) -> None:
    path = labelled(tmp_path / "x.csv", [0.5, 1, -2])
    task = FileTask(path, validation=path, kind="regression")
    assert (task.label_names, task.num_labels, task.metrics) == ((), 1, ("pearson", "spearman"))
    assert task.load()["train"]["label"][:] == [0.5, 1.0, -2.0]


def test_carved_validation_is_stratified_grouped_and_the_same_every_time(tmp_path: Path) -> None:
    rows = [{"text": f"Text  {i // 2}" if i % 2 else f"text {i // 2}", "label": i // 2 % 2} for i in range(200)]
    path = save(tmp_path / "x.csv", rows)
    splits, again, other = FileTask(path).load(), FileTask(path).load(), FileTask(path, split_seed=1).load()
    assert {name: len(split) for name, split in splits.items()} == {"train": 180, "validation": 20}
    assert sum(splits["validation"]["label"][:]) == 10
    normalised = {name: {" ".join(text.lower().split()) for text in split["text"][:]} for name, split in splits.items()}
    assert not normalised["train"] & normalised["validation"]
    assert splits["validation"].to_dict() == again["validation"].to_dict() != other["validation"].to_dict()


def inferences(path: Path, **columns: list) -> Path:
    """Write 300 premise-hypothesis pairs, three hypotheses to a premise, each premise in two spellings."""
    rows = [
        {"premise": f"{'The ' if i % 2 else 'the  '}premise {i // 3}", "hypothesis": f"so {i}", "label": i % 2}
        for i in range(300)
    ]
    for name, values in columns.items():
        rows = [row | {name: values[i]} for i, row in enumerate(rows)]
    return save(path, rows)


def sides(task: FileTask, split_column: str = "text") -> list[set[str]]:
    """Return what each split holds in a column: train, threshold, certification, validation."""
    splits = task.load()
    parts = [*carve(task, splits["train"], threshold_examples=30, certification_examples=60), splits["validation"]]
    return [{" ".join(text.lower().split()) for text in part[split_column][:]} for part in parts]


def shared(sides: list[set[str]]) -> set[str]:
    return {value for i, one in enumerate(sides) for other in sides[i + 1 :] for value in one & other}


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings; what is said besides depends on what ran before."""
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("group_by", ["premise", ["hypothesis", "premise"]])
def test_a_premise_never_stands_on_both_sides_of_a_split(suffix, group_by, tmp_path, caplog) -> None:
    path = inferences(tmp_path / f"x{suffix}")
    pairs = {"text": "premise", "text_pair": "hypothesis"}
    task = FileTask(path, **pairs, group_by=group_by)
    held = sides(task)
    assert not shared(held) and all(held)
    assert task.load()["validation"].column_names == ["text", "text_pair", "label", "line"]
    assert not warned(caplog)
    sides(FileTask(path, **pairs, group_by=[]))
    assert not warned(caplog), "no rule but equal texts is a rule"
    assert shared(sides(FileTask(path, **pairs)))
    assert "task=file: of 270 training rows " in caplog.text and "type data.group_by=premise " in caplog.text


@pytest.mark.data
def test_real_premises_in_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = build_task({"name": "mnli"}).load()["train"]
    path = tmp_path / "mnli.csv"
    train.select(range(25_000)).to_csv(path)
    leaked = {}
    for group_by in (None, "text"):
        task = FileTask(path, text_pair="text_pair", group_by=group_by)
        carved = carve(task, task.load()["train"])
        trained_on = {first for first, _ in row_texts(carved.train)}
        leaked[group_by] = sum(first in trained_on for first, _ in row_texts(carved.certification))
    assert leaked[None] > 100 and leaked["text"] == 0
    assert caplog.text.count("type data.group_by=text ") == 1


def test_rows_are_grouped_by_any_column_of_the_file_and_equal_texts_stay_together(tmp_path: Path) -> None:
    authors = [None if i % 10 == 0 else f"Author {i % 30 + i // 150}" for i in range(300)]
    path = inferences(tmp_path / "x.jsonl", author=authors)
    task = FileTask(path, text="hypothesis", group_by="author")
    assert task.text_fields == ("text",) and task.load()["validation"].column_names == ["text", "label", "line"]
    of_text = {f"so {i}": author for i, author in enumerate(authors)}
    held = [{of_text[text] for text in side} - {None} for side in sides(task)]
    assert not shared(held) and all(held)
    assert max(len(side & {f"so {i}" for i in range(0, 300, 10)}) for side in sides(task)) < 30, "no author, no group"
    repeated = save(tmp_path / "y.csv", [{"text": f"t{i // 2}", "who": i, "label": i // 2 % 2} for i in range(200)])
    assert not shared(sides(FileTask(repeated, group_by="who")))


def test_a_group_is_one_however_its_number_is_written(tmp_path: Path) -> None:
    ids = [f"{i // 2}.0" if i % 2 else f" {i // 2}" for i in range(300)]
    path = inferences(tmp_path / "x.csv", author=ids)
    of_text = {f"so {i}": i // 2 for i in range(300)}
    held = [{of_text[text] for text in side} for side in sides(FileTask(path, text="hypothesis", group_by="author"))]
    assert not shared(held) and all(held)


def test_a_file_that_is_reported_on_needs_no_group_column(tmp_path: Path) -> None:
    train = inferences(tmp_path / "x.csv", author=[i // 2 for i in range(300)])
    task = FileTask(train, validation=inferences(tmp_path / "y.csv"), text="hypothesis", group_by="author")
    assert task.load()["validation"].num_rows == 300


def test_a_group_column_must_be_there(tmp_path: Path) -> None:
    path = inferences(tmp_path / "x.csv")
    has = r"it has \['premise', 'hypothesis', 'label'\] \(did you mean data\.group_by=premise\?\)"
    message = r"data\.group_by: .*x\.csv has no column 'premis'; " + has
    with pytest.raises(ValueError, match=message):
        FileTask(path, text="hypothesis", group_by="premis").load()
    for wrong in ("label", ["premise", "label"]):
        with pytest.raises(
            ValueError, match=r"data\.group_by: expected a column, not data\.label's, or a list of them, "
        ):
            FileTask(path, text="hypothesis", group_by=wrong)


def test_a_rare_class_stays_in_training(tmp_path: Path) -> None:
    path = labelled(tmp_path / "x.csv", ["often"] * 30 + ["once"])
    assert 1 - FileTask(path).label_names.index("often") in FileTask(path).load()["train"]["label"][:]


def test_strange_but_valid_text(tmp_path: Path) -> None:
    texts = ["", "word", "x" * 1_000_000, "emoji 🙂", "NUL \x00 inside", "שלום", 'a "quote", and\na line']
    path = tmp_path / "x.csv"
    quoted = ['"' + text.replace('"', '""') + '"' for text in texts]
    path.write_bytes(("\ufefflabel,text\n" + "\n\n".join(f"{i % 2},{t}" for i, t in enumerate(quoted))).encode())
    assert FileTask(path, validation=path).load()["train"]["text"][:] == texts


def test_quotes_can_be_ordinary_characters(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text('text\tlabel\n"so" he said\t1\n"never closed\t0\n')
    assert FileTask(path, validation=path, quotes=False).load()["train"]["text"][:] == ['"so" he said', '"never closed']
    with pytest.raises(ValueError, match=r"x\.tsv, line 2: broken row: .* \(data\.quotes=false reads quotes"):
        FileTask(path, validation=path).load()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"", r"data\.train: .*x\.csv is empty"),
        ("x.csv", b"text,label\n", r"data\.train: .*x\.csv has no rows"),
        ("x.jsonl", b"\n\n", r"data\.train: .*x\.jsonl has no rows"),
        (
            "x.csv",
            b"txt,label\na,1\n",
            r"data\.text: .* no column 'text'; it has \['txt', 'label'\] \(did you mean dat",
        ),
        ("x.jsonl", b'{"text": "a", "y": 1}', r"data\.label: .* no column 'label'; it has \['text', 'y'\]$"),
        ("x.csv", b"text,text,label\na,b,1\n", r"data\.text: .*x\.csv: column names must differ, \['text'\]"),
        ("x.csv", b"text,label\na,1\nb,c,0\n", r"x\.csv, line 3: expected 2 fields as in the header, got 3; .* quotes"),
        ("x.csv", b'text,label\n"a\nb",1\n\nc\n', r"x\.csv, line 5: expected 2 fields as in the header, got 1"),
        ("x.csv", b'text,label\na,1\n"b,0\n', r"x\.csv, line 3: broken row: unexpected end of data"),
        ("x.csv", b'text,label\n"a"b,1\n', r"x\.csv, line 2: broken row: ',' expected after '\"'"),
        ("x.csv", b"text,label\na,1\nb\xff,0\n", r"x\.csv, line 3: not UTF-8: byte 0xff at position 16 of the file"),
        ("x.jsonl", b'{"text": "a\xe9", "label": 1}', r"x\.jsonl, line 1: not UTF-8: byte 0xe9 at position 11"),
        ("x.jsonl", b'{"text": "a", "label": 1}\n{"text"\n', r"x\.jsonl, line 2: broken JSON"),
        ("x.jsonl", b'{"text": "a", "label": 1}\n[1]\n', r"x\.jsonl, line 2: expected a JSON object, got list"),
        ("x.parquet", b"PAR1 but not really PAR1", r"x\.parquet: not readable as Parquet"),
        (
            "x.xlsx",
            b"PK",
            r"data\.train: expected a file ending in .*\.parquet, .* got 'x\.xlsx'; save the sheet as 'CSV",
        ),
        ("x.parquet.gz", b"\x1f\x8b", r"got 'x\.parquet\.gz'; unpack it first"),
        ("x.csv.gz", b"\x1f\x8b", r"data\.train: .*x\.csv\.gz is no whole gzip archive"),
        ("x.jsonl.gz", b"text", r"data\.train: .*x\.jsonl\.gz is no whole gzip archive \(Not a gzipped file"),
        ("x.json", b"[]", r"data\.train: .*x\.json has no rows"),
        ("x.json", b'{"a": 1}', r"data\.train: .*x\.json: expected a JSON array of objects, got dict"),
        ("x.json", b'[{"text": "a", "label": 1}, 3]', r"x\.json, row 2: expected a JSON object, got int"),
        ("x.json", b'{"a": 1}\n{"a": 2}', r"x\.json: broken JSON: .* \(one object a line is a \.jsonl file\)"),
        ("x.csv", b"\x1f\x8b\x08", r"x\.csv is a gzip archive, whatever its name says"),
        ("x.csv", b"PK\x03\x04", r"x\.csv is a zip archive or an Excel sheet"),
        ("x.csv", "text,label\na,1\n".encode("utf-16"), r"line 1: not UTF-8 but UTF-16; convert it with `iconv -f UTF"),
        ("x.csv", "text,label\na,1\n".encode("utf-16-be"), r"line 1: not UTF-8 but with NUL bytes, as in UTF-16"),
        ("x.csv", b"\xef\xbb\xbf", r"data\.train: .*x\.csv has no rows"),
        ("x.csv", b"text,label\na,1\n,\n", r"1 of 2 rows have no label .* line 3"),
        ("x.csv", b"text:label\na:1\n", r"no column 'text'; .* the first line must name the columns, and data\.delim"),
        (
            "x.csv",
            b"fine,1\nbad,0\n",
            r"no column 'text'; it has \['fine', '1'\]; the first line must name the columns",
        ),
        ("x.csv", b"txt;label\na;1\n", r"it has \['txt', 'label'\] \(did you mean data\.text=txt\?\); .* by ';'"),
        ("x.csv", b'{"text": "a", "label": 1}', r"no column 'text'; .*; is it JSON\? Then name it \.jsonl"),
        (
            "x.jsonl",
            b'[{"text": "a", "label": 1}]',
            r"line 1: expected a JSON object, got list; every line must be one",
        ),
        ("x.jsonl", b"[\n{}\n]", r"line 1: broken JSON: .* \(every line must be an object of its own; an array"),
        ("x.jsonl", b'{"text": "a", "label": 1, "label": 0}', r"line 1: the key 'label' stands there twice"),
        (
            "x.jsonl",
            b'{"text": NaN, "label": 1}\n{"text": "a", "label": 0}',
            r"1 of 2 rows have no text in column 'text' \(null\), .* line 1",
        ),
        ("x.csv", b"text,label\na,1\nb,\nc,NaN\nd,0\n", r"2 of 4 rows have no label in column 'label' .* line 3"),
        ("x.jsonl", b'{"text": "a", "label": 1}\n\n{"text": "b"}\n', r"1 of 2 rows have no label .* line 3"),
        ("x.csv", b"text,label\na,1\nb,1\n", r"at least two classes in column 'label', all 2 rows have '1'"),
        (
            "x.jsonl",
            b'{"text": null, "label": 1}\n{"text": "a", "label": 0}',
            r"1 of 2 rows have no text in column 'text' \(null\), .* line 1",
        ),
        (
            "x.jsonl",
            b'{"text": "a", "label": 0}\n{"text": [5], "label": 1}\n',
            r"line 2: expected text in column 'text', got list \[5\]",
        ),
        (
            "x.jsonl",
            b'{"text": "a", "label": 0}\n{"text": "\\ud800", "label": 1}',
            r"line 2: column 'text' is no Unicode text",
        ),
        (
            "x.jsonl",
            b'{"text": "a", "label": 0.5}',
            r"line 1: expected text, an integer .* 0\.5; .*data\.kind=regression",
        ),
        ("x.jsonl", b'{"text": "a", "label": [1]}', r"line 1: expected text, an integer or true/false .* got \[1\]"),
    ],
)
def test_broken_files_are_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        FileTask(path, validation=path).load()


@pytest.mark.parametrize("label", ["much", "inf", "", "nan", "1e39", '"0,5"'])
def test_scores_must_be_finite_numbers(label: str, tmp_path: Path) -> None:
    path = labelled(tmp_path / "x.csv", ["1.5", label])
    with pytest.raises(ValueError, match=r"data\.label: .*x\.csv.* line 3"):
        FileTask(path, validation=path, kind="regression").load()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.train: expected a file, '.*' is a folder"):
        FileTask(tmp_path).load()


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("text,label,,,\na,1,,,\nb,0,,,\n", {}),
        ("id,text,label,id\n1,a,1,2\n1,b,0,2\n", {}),
        (",Unnamed: 0,v2,v1,\n0,0,a,1,\n1,1,b,0,\n", {"text": "v2", "label": "v1"}),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_other_columns_need_no_names_of_their_own(suffix: str, content: str, columns: dict, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    if suffix == ".csv":
        path.write_text(content)
    else:
        header, *rows = (line.split(",") for line in content.splitlines())
        pq.write_table(pa.table([pa.array(values) for values in zip(*rows, strict=True)], names=header), path)
    train = FileTask(path, validation=path, **columns).load()["train"]
    assert train.select_columns(["text", "label"]).to_dict() == {"text": ["a", "b"], "label": [1, 0]}


def test_numbers_are_texts_in_every_format_and_a_column_of_them_is_warned_of(tmp_path: Path, caplog) -> None:
    some, all_of_them = [1984, "a", 2.5], [1984, 7, 2.5]
    for texts, warned in ((some, False), (all_of_them, True)):
        for name in ("x.csv", "x.jsonl", "x.parquet")[: 3 if warned else 2]:  # a Parquet column has one type
            path = save(tmp_path / name, [{"text": text, "label": i % 2} for i, text in enumerate(texts)])
            caplog.clear()
            read = FileTask(path, validation=path).load()["train"]["text"][:]
            assert read == ([f"{text:.1f}" for text in texts] if name == "x.parquet" else [str(t) for t in texts])
            assert ("all 3 texts in column 'text' are numbers" in caplog.text) == warned
    path = save(tmp_path / "x.csv", [{"text": "", "label": 0}, {"text": " ", "label": 1}])
    FileTask(path, validation=path).load()
    assert "data.text: " in caplog.text and "all 2 texts in column 'text' are empty" in caplog.text


def test_validation_labels_must_be_known(tmp_path: Path) -> None:
    train, validation = labelled(tmp_path / "x.csv", ["a", "b"]), labelled(tmp_path / "y.csv", ["a", "c", "d"])
    message = (
        r"y\.csv: 2 rows have a label .* training does not know, the first in line 3: 'c'; training has \['a', 'b'\]"
    )
    with pytest.raises(ValueError, match=message):
        FileTask(train, validation=validation).load()
    with pytest.raises(ValueError, match=r"training has \['a', 'b'\]; others are \['d'\]$"):
        FileTask(train, validation=validation).load()
    integers, gap = labelled(tmp_path / "x.parquet", [0, 2, 2]), labelled(tmp_path / "y.parquet", [0, 1])
    with pytest.raises(ValueError, match=r"1 rows have a label .* in row 2: '1'; training has \['0', '2'\]$"):
        FileTask(integers, test=gap).load()


def test_a_column_of_ever_new_values_is_no_label(tmp_path: Path) -> None:
    path = labelled(tmp_path / "x.csv", [f"{i}.5" for i in range(80)])
    with pytest.raises(ValueError, match=r"80 different labels in 80 rows of column 'label': is it the label\?"):
        FileTask(path).load()


def test_too_few_texts_to_carve(tmp_path: Path) -> None:
    path = labelled(tmp_path / "x.csv", ["a", "b"])
    with pytest.raises(ValueError, match=r"has 2 independent texts, too few .* data\.validation="):
        FileTask(path).load()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    train = labelled(tmp_path / "x.csv", ["a", "b"])
    with pytest.raises(FileNotFoundError, match=r"data\.validation: no file .*nowhere\.csv' \(looked for "):
        FileTask(train, validation=tmp_path / "nowhere.csv").load()


def test_options_are_checked_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match=r"expected different columns, got"):
        FileTask("x.csv", text="label")
    with pytest.raises(
        ValueError, match=r"data\.kind: expected one of \['classification', .*'regression'\], got 'ranking'"
    ):
        build_task({"name": "file", "train": "x.csv", "kind": "ranking"})
    for options, message in (
        ({"delimiter": "ab"}, r"data\.delimiter: expected a character .*'semicolon'.* or null, got 'ab'"),
        ({"delimiter": '"'}, r"data\.delimiter: expected a character \(no double quote"),
        (
            {"train": "x.jsonl", "delimiter": ";"},
            r"data\.delimiter: expected only with a file ending in \.csv or \.tsv",
        ),
        ({"train": "x.parquet", "quotes": False}, r"data\.quotes: expected only with a file ending in \.csv or"),
    ):
        with pytest.raises(ValueError, match=message):
            build_task({"name": "file", "train": "x.csv"} | options)
    for wrong, message in (
        ({"quotes": "no"}, r"data\.quotes: expected true or false, got 'no'"),
        ({"text": 5}, r"data\.text: expected the name of a column, got 5; as text that is data\.text=\\'5\\'"),
        ({"train": None}, r"data\.train: expected a file, got None"),
        ({"label": ""}, r"data\.label: expected the name of a column, got ''"),
    ):
        with pytest.raises(ValueError, match=message):
            unchecked(FileTask, **{"train": "x.csv"} | wrong)
