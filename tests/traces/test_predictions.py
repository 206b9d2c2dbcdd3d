"""Predictions as Parquet: each example's answer at the operating point, with the line of the user's file."""

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest

from eat.evaluation import evaluate_run
from eat.exits.points import OperatingPoint
from eat.runs.finished import FinishedRun
from eat.traces.predictions import prediction_table
from eat.traces.replay import replay
from eat.traces.run_traces import read_traces
from tests.made.runs import write_run


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
    monkeypatch.setattr("eat.evaluation.report.section.draw", lambda *_: None)


def evaluated(folder, **options):
    run = write_run(folder, **{key: options.pop(key) for key in ("regression", "exit") if key in options})
    report = evaluate_run(run, stages=["quality"], predictions=True, **options)
    tables = {path.stem: pq.read_table(path) for path in (report.folder / "predictions").iterdir()}
    return run, report, tables


def test_every_split_that_is_not_trained_on_has_its_predictions(tmp_path):
    run, report, tables = evaluated(tmp_path / "run")
    traces, own = read_traces(FinishedRun(run)), FinishedRun(run).exit
    assert tables.keys() == traces.splits.keys() == {"threshold", "certification", "validation"}
    for split, table in tables.items():
        trace = traces.splits[split]
        replayed = replay(trace, own)
        shares = np.exp(replayed.logits) / np.exp(replayed.logits).sum(1, keepdims=True)
        names = np.array(["no", "yes"])
        assert table.column_names == ["row", "line", "label", "prediction", "score", "depth"]
        assert table["row"].to_pylist() == list(range(len(trace)))
        assert table["label"].to_pylist() == names[trace.labels].tolist()
        assert table["prediction"].to_pylist() == names[shares.argmax(1)].tolist()
        assert table["score"].to_numpy() == pytest.approx(shares.max(1), abs=1e-6)
        assert table["depth"].to_pylist() == replayed.exit_depth.tolist()
    assert "predictions=true" in (report.folder / "summary.md").read_text()


def test_lines_are_those_of_the_files(tmp_path):
    run, _, tables = evaluated(tmp_path / "run")
    for split, table in tables.items():
        file = run / ("validation.csv" if split == "validation" else "train.csv")
        with file.open(newline="") as handle:
            labels = {number: row["label"] for number, row in enumerate(csv.DictReader(handle), start=2)}
        assert [labels[line] for line in table["line"].to_pylist()] == table["label"].to_pylist()
    assert len(set(tables["threshold"]["line"].to_pylist() + tables["certification"]["line"].to_pylist())) == sum(
        len(tables[split]) for split in ("threshold", "certification")
    )


def test_a_regression_predicts_scores(tmp_path):
    run, _, tables = evaluated(tmp_path / "run", regression=True, exit={"name": "never"})
    trace = read_traces(FinishedRun(run)).reported
    table = tables["validation"]
    assert table.column_names == ["row", "line", "label", "prediction", "depth"]
    assert table["prediction"].to_numpy() == pytest.approx(trace.full_depth[:, 0])


def test_another_operating_point_has_its_own(tmp_path):
    run, report, tables = evaluated(tmp_path / "run")
    never = OperatingPoint.of({"name": "never"})
    other = evaluate_run(run, stages=["quality"], predictions=True, exit={"name": "never"})
    assert other.folder == report.folder / "never"
    table = pq.read_table(other.folder / "predictions" / "validation.parquet")
    assert table == prediction_table(read_traces(FinishedRun(run)).reported, never)
    assert set(table["depth"].to_pylist()) == {4} != set(tables["validation"]["depth"].to_pylist())
