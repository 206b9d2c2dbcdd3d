"""Any table, written in any format and dialect, is read back row for row."""

import csv
import io
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eat.tasks.file import FileTask
from eat.tasks.formats import Dialect, read_table

WANTED = {"text": "data.text", "label": "data.label"}
NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}

cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        '"',
        '""',
        "a,b;c\td|e",
        "line\nbreak",
        "carriage\rreturn",
        "both\r\n",
        " spaces ",
        "\ufeff",
        "\x00",
        "\u2028",
        "'",
    ]
)
tables = st.lists(st.tuples(cells, cells, st.sampled_from(["yes", "no", "it's; so"])), min_size=1, max_size=6)


def rows_of(table: Any) -> list[tuple[str, str]]:
    return list(zip(table.columns["text"], table.columns["label"], strict=True))


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@given(tables, st.sampled_from(",;\t|:"), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.booleans())
def test_delimited(rows: list, delimiter: str, end: str, quote_all: bool, mark: bool) -> None:
    text = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow(["other", "text", "", "label", ""])
    writer.writerows([other, text, "", label, other] for text, other, label in rows)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".csv", ".tsv"):
            path = write(Path(folder) / f"x{suffix}", text.getvalue(), "utf-8-sig" if mark else "utf-8")
            for given_as in (delimiter, *([None] if delimiter in NAMES else [])):
                table = read_table(path, WANTED, option="data.train", dialect=Dialect(given_as))
                assert rows_of(table) == [(text, label) for text, _, label in rows]


@given(tables)
def test_json_lines(rows: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for escaped in (True, False):
            lines = [json.dumps({"o": o, "text": t, "label": y}, ensure_ascii=escaped) for t, o, y in rows]
            path = write(Path(folder) / "x.jsonl", "\n\n".join(lines))
            assert rows_of(read_table(path, WANTED, option="data.train")) == [(t, y) for t, _, y in rows]


@given(tables, st.sampled_from([pa.string(), pa.large_string(), pa.string_view()]), st.booleans())
def test_parquet(rows: list, kind: pa.DataType, as_dictionary: bool) -> None:
    texts, others, labels = (pa.array(column, kind) for column in zip(*rows, strict=True))
    if as_dictionary:
        texts, labels = texts.cast(pa.string()).dictionary_encode(), labels.cast(pa.string()).dictionary_encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x=1" / "x.parquet"
        path.parent.mkdir()
        table = pa.table([texts, others, others, labels], names=["text", "other", "other", "label"])
        pq.write_table(table, path, row_group_size=2)
        assert rows_of(read_table(path, WANTED, option="data.train")) == [(t, y) for t, _, y in rows]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_damaged_files_are_read_or_refused_in_one_line(suffix: str, tmp_path: Path) -> None:
    """Bytes of a good file are changed, cut off or put in: never another error, never a message of several lines."""
    rows = [{"text": f'a "quoted" text, {i}', "label": ("yes", "no")[i % 2]} for i in range(20)]
    good = tmp_path / f"good{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), good)
    elif suffix == ".jsonl":
        write(good, "".join(json.dumps(row) + "\n" for row in rows))
    else:
        with good.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["text", "label"], delimiter="," if suffix == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    generator = random.Random(0)
    refusals = []
    for trial in range(300):
        content = bytearray(good.read_bytes())
        place = generator.randrange(len(content))
        if trial % 3 == 0:
            content[place] = generator.randrange(256)
        elif trial % 3 == 1:
            del content[place:]
        else:
            content[place:place] = generator.choice([b'"', b"\n", b"\xff", b"\x00", b",", b"{", b"\r"])
        path = tmp_path / f"x{suffix}"
        path.write_bytes(content)
        try:
            FileTask(path, validation=path).load()
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > 30
    assert [m for m in refusals if "\n" in m or not m.startswith("data.") or f"{tmp_path}/x." not in m] == []


@pytest.mark.parametrize(
    "column", [[["a"], ["b"]], [{"a": 1}, {"a": 2}], [b"a", b"b"], [pa.scalar(0, "timestamp[ns]")] * 2]
)
@pytest.mark.parametrize("name", ["text", "label"])
def test_columns_of_other_types_are_refused(name: str, column: list, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "label": [0, 1]} | {name: pa.array(column)}), tmp_path / "x.parquet")
    if name == "label" and isinstance(column[0], list):
        message = (
            r"^data\.label: .*x\.parquet, row 1: expected text, .*\['a'\].* a list of labels data.kind=multi_label"
        )
    else:
        held = "(list|struct|binary|timestamp)"
        message = rf"^data\.{name}: .*x\.parquet: column '{name}' holds {held}.*, expected text or num"
    with pytest.raises(ValueError, match=message):
        FileTask(tmp_path / "x.parquet").load()


def test_a_given_delimiter_is_the_only_one(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "text,label\na;b,1\nc,0\n")
    assert FileTask(path, validation=path, delimiter="comma").load()["train"]["text"][:] == ["a;b", "c"]
    with pytest.raises(
        ValueError, match=r"it has \['text,label'\]; the header has no ';': .* Say data\.delimiter=comma"
    ):
        FileTask(path, delimiter="semicolon").load()


def test_a_quote_that_never_closes_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", 'text,label\n"fine,\nso far",1\n"b,0\n' + "c,1\n" * 9)
    with pytest.raises(ValueError, match=r"x\.csv, line 4: broken row: .*: a double quote opens here and never closes"):
        FileTask(path).load()


@pytest.mark.parametrize(
    "header", ['"lab\nel",text', f"{'x' * 5_000},text", ",".join(f"column_{number:0200}" for number in range(50))]
)
def test_a_message_about_columns_is_one_line_that_can_be_read(header: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", f"{header}\n{'a,' * header.count(',')}b\n")
    with pytest.raises(ValueError, match=r"^data\.(text|label): .* has no column '(text|label)'") as caught:
        FileTask(path).load()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1_000
    assert "data.label=lab" not in str(caught.value), "quoted, as a command line takes it"


def test_a_path_of_several_lines_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a\nb.csv", "text,label\na,1\nb,0\n")
    with pytest.raises(ValueError, match=r"^data\.train: expected a path on one line, got '.*a\\nb\.csv'$"):
        FileTask(path).load()
