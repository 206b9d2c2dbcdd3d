"""A predicted file has the model's own answer to every row, in order, whatever the format, the window and the cache."""

import base64
import gc
import gzip
import io
import itertools
import json
import math
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eat.deployment import predict_file
from eat.deployment.prediction import destination, reading
from eat.deployment.prediction.settings import PredictSettings
from tests.deployment.predictions import COLUMNS, alone, make_run, make_texts, one_line, read_rows, write_rows

TEXTS = make_texts(60)
QUIET = {"progress": False}


def predicted(run: Path, source: Path, target: Path, **settings: Any) -> list[dict[str, Any]]:
    predict_file(run, source, target, PredictSettings(**QUIET | settings))
    assert [path.name for path in target.parent.iterdir() if ".parts" in path.name or "partial" in path.name] == []
    return read_rows(target)


def same(rows: list[dict[str, Any]], expected: Any, columns: list[str] = COLUMNS) -> None:
    for row, answer in zip(rows, expected, strict=True):
        label, *numbers = (row[name] for name in columns)
        assert label == answer[0]
        assert numbers == pytest.approx(answer[1:], abs=1e-6)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet", ".txt"])
@pytest.mark.parametrize("written", [".csv", ".jsonl", ".parquet"])
def test_every_format_has_the_models_own_answers(run: Path, tmp_path: Path, suffix: str, written: str) -> None:
    rows = [{"id": i, "text": text} for i, text in enumerate(TEXTS)]
    source = write_rows(tmp_path / f"in{suffix}", rows)
    keep = [] if suffix == ".txt" else ["id"]
    found = predicted(run, source, tmp_path / f"out{written}", window=25, batch_size=4, keep=keep)
    assert [[*row] for row in found] == [[*keep, *COLUMNS]] * 60
    assert not keep or [int(row["id"]) for row in found] == list(range(60))
    same(found, alone(run, TEXTS))
    assert len({row["exit_depth"] for row in found}) > 1 and min(row["retention"] for row in found) < 1


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("written", [".csv", ".jsonl", ".parquet"])
def test_a_table_without_rows_has_none_answered(run: Path, tmp_path: Path, suffix: str, written: str) -> None:
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{written}"
    if suffix == ".parquet":
        pq.write_table(pa.table({"id": pa.array([], pa.int64()), "text": pa.array([], pa.string())}), source)
    else:
        source.write_text({".csv": "id,text\n", ".tsv": "id\ttext\n"}[suffix])
    assert predicted(run, source, target, keep=["id"]) == []
    if written == ".csv":
        assert target.read_text() == ",".join(["id", *COLUMNS]) + "\n"
    if written == ".parquet":
        assert pq.read_schema(target).names == ["id", *COLUMNS]
    with pytest.raises(ValueError, match=r"text: .*has no column 'body'"):
        predicted(run, source, tmp_path / "other.csv", text="body")


def test_a_packed_file_is_read_as_what_is_in_it(run: Path, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.csv", [{"text": text} for text in TEXTS])
    packed = tmp_path / "in.csv.gz"
    packed.write_bytes(gzip.compress(source.read_bytes()))
    same(predicted(run, packed, tmp_path / "out.jsonl", window=25, batch_size=4), alone(run, TEXTS))
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"in\.csv\.gz is no whole gzip archive"):
        predicted(run, packed, tmp_path / "cut.jsonl", window=25, batch_size=4)


def test_pairs_and_columns_by_name(run: Path, tmp_path: Path) -> None:
    pairs = [*itertools.pairwise(TEXTS)]
    rows = [{"premise": one, "label": "x", "hypothesis": two} for one, two in pairs]
    source = write_rows(tmp_path / "in.csv", rows)
    options = {"text": "premise", "text_pair": "hypothesis", "keep": ["label"]}
    found = predicted(run, source, tmp_path / "out.jsonl", **options)
    assert {row["input_label"] for row in found} == {"x"}
    same(found, alone(run, pairs))


def test_a_regression_has_values(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", regression=True, exit={"name": "difference", "threshold": 0.02})
    found = predicted(run, write_rows(tmp_path / "in.txt", [{"text": t} for t in TEXTS]), tmp_path / "out.parquet")
    assert [*found[0]] == ["value", "exit_depth", "retention"]
    expected = [(value, depth, kept) for _, value, depth, kept in alone(run, TEXTS)]
    for row, answer in zip(found, expected, strict=True):
        assert [*row.values()] == pytest.approx(answer, abs=1e-6)


def test_another_exit_is_chosen_as_in_an_evaluation(run: Path, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.txt", [{"text": t} for t in TEXTS])
    for number, (exit, depths) in enumerate(
        [({"name": "never"}, {4}), ({"threshold": 0.0}, {1}), ({"name": "patience", "patience": 1}, {2, 3, 4})]
    ):
        found = predicted(run, source, tmp_path / f"{number}.jsonl", exit=exit)
        assert {row["exit_depth"] for row in found} <= depths
    with one_line(r"exit.name: expected one of|unknown exit|exit"):
        predicted(run, source, tmp_path / "none.jsonl", exit={"name": "nevr"})


def test_kept_columns_keep_their_types_in_parquet(run: Path, tmp_path: Path) -> None:
    days = pa.array([1, 2, None], pa.timestamp("ms"))
    kept = {
        "id": pa.array([1, None, 3], pa.int16()),
        "day": days,
        "kind": pa.array(["a", "b", "a"]).dictionary_encode(),
        "many": pa.array([[1], [], None], pa.list_(pa.int64())),
    }
    pq.write_table(pa.table({"text": ["good", "bad", "poor"], **kept}), tmp_path / "in.parquet")
    predicted(run, tmp_path / "in.parquet", tmp_path / "out.parquet", keep=[*kept], window=2)
    table = pq.read_table(tmp_path / "out.parquet")
    for name, column in kept.items():
        assert table.column(name).to_pylist() == column.to_pylist()
        assert table.schema.field(name).type == column.type
    assert [str(table.schema.field(name).type) for name in COLUMNS] == ["string", "float", "int32", "float"]
    lines = predicted(run, tmp_path / "in.parquet", tmp_path / "out.csv", keep=[*kept])
    assert [row["many"] for row in lines] == ["[1]", "[]", None] and lines[0]["day"] == "1970-01-01 00:00:00.001000"


def test_json_has_null_for_what_is_no_number_and_base64_for_bytes(run: Path, tmp_path: Path) -> None:
    kept = {
        "f": pa.array([math.nan, 1.5, -math.inf]),
        "b": pa.array([b"a\xff", b"", None], pa.binary()),
        "l": pa.array([[1.0, math.nan], [], None], pa.list_(pa.float64())),
    }
    pq.write_table(pa.table({"text": ["good", "bad", "poor"], **kept}), tmp_path / "in.parquet")
    predicted(run, tmp_path / "in.parquet", tmp_path / "out.jsonl", keep=[*kept])

    def refuse(word: str) -> None:
        raise AssertionError(word)

    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    assert [row["f"] for row in rows] == [None, 1.5, None]
    assert [row["b"] and base64.b64decode(row["b"]) for row in rows] == [b"a\xff", "", None]
    assert [row["l"] for row in rows] == [[1.0, None], [], None]
    assert {row["b"] for row in predicted(run, tmp_path / "in.parquet", tmp_path / "out.csv", keep=["b"])} == {
        "Yf8=",
        None,
    }


def test_the_cache_changes_no_answer_and_forgets(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [TEXTS[i * i % 7] for i in range(50)]
    source = write_rows(tmp_path / "in.txt", [{"text": text} for text in texts])
    expected = predicted(run, source, tmp_path / "without.jsonl")
    for size in (1, 3, 100):
        target = tmp_path / f"cache{size}.jsonl"
        summary = predict_file(run, source, target, PredictSettings(**QUIET, cache=size, window=8))
        same(read_rows(target), [[*row.values()] for row in expected])
        assert summary.tally.cached == 50 - len({*texts}) if size == 100 else summary.tally.cached > 0
    assert "remembered" in str(summary)


ODD = {
    "in.csv": ('id,text\n1,good\n2,bad,more\n3,"a"b\n4,"fine\nfilm"\n5,poor\n', [2, 3]),
    "in.jsonl": ('{"text": "good"}\n{"text": null}\n{"no": 1}\n[1]\n{"text": [1]}\n{\n{"text": 3}\n', [2, 3, 4, 5, 6]),
    "in.txt": ("good\n\nb\xe4d\nfine\n", [3]),
    "one.csv": ('text\ngood\n""\n\n  \nbad\n', []),
}


@pytest.mark.parametrize("name", ODD)
def test_rows_that_cannot_be_read_stay_in_line_without_an_answer(run: Path, tmp_path: Path, name: str) -> None:
    content, odd = ODD[name]
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    summary = predict_file(run, tmp_path / name, tmp_path / "out.jsonl", PredictSettings(**QUIET))
    rows = read_rows(tmp_path / "out.jsonl")
    assert [number for number, row in enumerate(rows, 1) if row["label"] is None] == odd
    assert summary.tally.rows == len(rows) == {"in.csv": 5, "in.jsonl": 7, "in.txt": 4, "one.csv": 4}[name]
    assert summary.tally.unreadable == len(odd)
    assert [line.split(":")[0] for line in summary.unreadable] == [f"row {number}" for number in odd]


def test_null_texts_of_parquet_have_no_answer(run: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array(["good", None, "bad"])}), tmp_path / "in.parquet")
    found = predicted(run, tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert [row["label"] is None for row in found] == [False, True, False]


def test_long_texts_are_cut_and_counted_or_refused(run: Path, tmp_path: Path) -> None:
    texts = ["good film", "good " * 200, "bad " * 126, "bad " * 127]  # of 128 places, two are for special tokens
    source = write_rows(tmp_path / "in.txt", [{"text": text} for text in texts])
    summary = predict_file(run, source, tmp_path / "out.jsonl", PredictSettings(**QUIET))
    assert summary.tally.cut == 2 and "were cut: 2" in str(summary)
    same(read_rows(tmp_path / "out.jsonl"), alone(run, texts))
    with one_line(r"truncate: .*in\.txt, line 2: 74 tokens more than the 128"):
        predicted(run, source, tmp_path / "no.jsonl", truncate=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.jsonl"]


class Endless(io.BytesIO):
    """Standard input without an end, until it is told."""

    mode, name = "rb", "<stdin>"

    def __init__(self) -> None:
        super().__init__()
        self.served, self.ended = 0, False

    def readline(self, size: int | None = -1, /) -> bytes:
        self.served += not self.ended
        return b"" if self.ended else f"good film {self.served}\n".encode()


def test_memory_is_bounded_on_an_endless_stream(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless, written, held = Endless(), 0, []
    append = destination.File.append

    def watched(file: Any, rows: Any, *more: Any) -> None:
        nonlocal written
        append(file, rows, *more)
        written += len(rows)
        held.append((endless.served - written, sum(type(one) is reading.Row for one in gc.get_objects())))
        endless.ended = written >= 200

    before = sum(type(one) is reading.Row for one in gc.get_objects())  # which tests before this one keep
    monkeypatch.setattr(destination.File, "append", watched)
    monkeypatch.setattr(sys, "stdin", type("", (), {"buffer": endless}))
    predict_file(run, "-", tmp_path / "out.jsonl", PredictSettings(**QUIET, window=20))
    assert len(read_rows(tmp_path / "out.jsonl")) == endless.served
    assert len(held) >= 10 and max(read_ahead for read_ahead, _ in held) <= 20
    assert max(rows for _, rows in held) <= before + 21


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text\ngood\n" + "x" * (2 << 20), "line 3: longer than 1 MiB"),
        ('text\ngood\n"' + "x\n" * (1 << 20), "line 3: broken row: field larger than field limit"),
    ],
)
def test_a_row_without_an_end_is_refused_before_it_fills_the_memory(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, message: str
) -> None:
    monkeypatch.setattr(reading, "LONGEST", 1 << 20)
    (tmp_path / "in.csv").write_text(content)
    with one_line(message):
        predict_file(run, tmp_path / "in.csv", tmp_path / "out.csv", PredictSettings(**QUIET))
    assert not (tmp_path / "out.csv").exists()


def test_a_window_of_long_texts_has_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    from eat.deployment.prediction import run as module

    monkeypatch.setattr(module, "MOST_CHARACTERS", 100)
    rows = [reading.Row("", ("x" * 60,), ("y" * 10,)) for _ in range(5)]
    assert [len(window) for window in module.windows(rows, 3)] == [2, 2, 1]
