"""Texts that are joined of several columns, as the run was trained or as it is said."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from eat.deployment import PredictSettings, export_onnx, predict_file
from eat.models.classifier import AdaptiveForSequenceClassification
from tests.deployment.predictions import COLUMNS, alone, make_run, make_texts, one_line, read_rows, write_rows
from tests.reference.unchecked import unchecked

ROWS = [{"subject": text, "body": f"good film {i}", "more": "soup"} for i, text in enumerate(make_texts(20))]
QUIET = {"progress": False}


@pytest.fixture
def trained(run: Path) -> Any:
    """Write into the run's configuration what it was trained on; undone at the end."""
    path = run / "config.yaml"
    before = path.read_text()

    def write(**task: Any) -> Path:
        config = yaml.safe_load(before)
        path.write_text(yaml.safe_dump(config | {"task": config["task"] | task}))
        return run

    yield write
    path.write_text(before)


def answers(model: Path, source: Path, output: Path, **settings: Any) -> list[tuple[Any, ...]]:
    predict_file(model, source, output, PredictSettings(**QUIET, fresh=True, **settings))
    return [tuple(row[name] for name in COLUMNS) for row in read_rows(output)]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_run_knows_its_columns_and_what_stands_between_them(run: Path, trained: Any, suffix: str, tmp_path: Path):
    source, output = write_rows(tmp_path / f"in.{suffix}", ROWS), tmp_path / "out.jsonl"
    joined = [f"{row['subject']} was {row['body']}" for row in ROWS]
    expected = list(alone(run, joined))
    model = trained(text=["subject", "body"], separator=" was ")
    for folder in (model, model / "model"):
        found = answers(folder, source, output)
        assert [row[0] for row in found] == [row[0] for row in expected]
        assert [row[1] for row in found] == pytest.approx([row[1] for row in expected], abs=1e-5)
    assert answers(model, source, output, text=["subject", "body"], separator=" was ") == found
    pairs = [(f"{row['subject']} {row['more']}", row["body"]) for row in ROWS]
    two = answers(trained(), source, output, text=["subject", "more"], text_pair=["body"])
    assert [row[1] for row in two] == pytest.approx([score for _, score, *_ in alone(run, pairs)], abs=1e-5)
    trained(text="subject", text_pair="body")
    pair = answers(model, source, output)
    first = alone(run, [(row["subject"], row["body"]) for row in ROWS])
    assert [row[1] for row in pair] == pytest.approx([score for _, score, *_ in first], abs=1e-5)


def test_a_run_on_pairs_takes_its_second_text_whatever_the_first_is_called(
    run: Path, trained: Any, tmp_path: Path
) -> None:
    source, output = write_rows(tmp_path / "in.csv", ROWS), tmp_path / "out.jsonl"
    model = trained(text="premise", text_pair="body")
    found = answers(model, source, output, text="subject")
    expected = alone(run, [(row["subject"], row["body"]) for row in ROWS])
    assert [row[1] for row in found] == pytest.approx([score for _, score, *_ in expected], abs=1e-5)


@pytest.mark.parametrize("exported", [False, True])
def test_a_model_that_was_trained_on_pairs_refuses_single_texts(tmp_path: Path, exported: bool) -> None:
    run, source = make_run(tmp_path / "run"), write_rows(tmp_path / "in.csv", ROWS)
    pair, single = {"text": "subject", "text_pair": "body"}, {"text": "subject"}
    for num_texts, fits, other, message in (
        (2, pair, single, r"text_pair: expected the column of the second text, got none: .* trained on pairs of texts"),
        (1, single, pair, r"text_pair: expected none, got a column: the model was trained on one text at a time"),
    ):
        path = run / "model" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"num_texts": num_texts}))
        folder = run / "model"
        if exported:
            pytest.importorskip("onnx")
            folder = tmp_path / f"served{num_texts}"
            model = AdaptiveForSequenceClassification.from_pretrained(run / "model")
            export_onnx(model, run / "model", folder)
        assert len(answers(folder, source, tmp_path / "out.jsonl", **fits)) == len(ROWS)
        (tmp_path / "out.jsonl").unlink()
        with one_line(message):
            answers(folder, source, tmp_path / "out.jsonl", **other)
        assert not (tmp_path / "out.jsonl").exists()


def test_lines_of_plain_text_are_texts_whatever_the_columns_were(run: Path, trained: Any, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.txt", [{"text": "good film"}])
    assert len(answers(trained(text=["subject", "body"]), source, tmp_path / "out.jsonl")) == 1


def test_a_missing_column_is_named(run: Path, trained: Any, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.csv", ROWS)
    trained(text=["subject", "boddy"])
    with one_line(r"text: .*in.csv has no column 'boddy'; it has \[.*\] \(did you mean text=body\?\)"):
        answers(run, source, tmp_path / "out.jsonl")
    for settings, message in (
        ({"text": []}, r"text: expected a column, or a list of columns, got \[\]"),
        ({"text": ["a", 3]}, r"text: expected the name of a column, got 3"),
        ({"text": ["a", "a"]}, r"text, text_pair: expected different columns, got \['a', 'a'\]"),
        ({"text": "a", "text_pair": ["b", "a"]}, r"text, text_pair: expected different columns"),
        ({"separator": 3}, r"separator: expected text that stands between joined texts, got 3"),
    ):
        with one_line(message):
            unchecked(PredictSettings, **settings)
    assert not list(tmp_path.glob("out*"))


def test_a_row_without_one_of_the_texts_has_no_answer(run: Path, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", [ROWS[0], {**ROWS[1], "body": None}, ROWS[2]])
    found = answers(run, source, tmp_path / "out.jsonl", text=["subject", "body"])
    assert [row[0] is None for row in found] == [False, True, False]
