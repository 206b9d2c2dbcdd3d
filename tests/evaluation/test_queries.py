"""Finished runs one text at a time: every engine gives its own answers, at the point that it serves."""

import json
from pathlib import Path

import numpy as np
import pytest

from eat.benchmark.queries import QUERIES
from eat.evaluation import evaluate_run
from eat.evaluation.queries import QuerySettings, measure_runs
from eat.results.queries import write_queries
from eat.runs.finished import FinishedRun
from eat.traces.quality import measure_point
from eat.traces.run_traces import read_traces

FEW = QuerySettings(queries=2, warm_ups=0)


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eat.evaluation.report.section.draw", lambda *_: None)


def test_a_run_is_measured_at_its_own_point_and_at_another(run: Path, tmp_path: Path) -> None:
    now = {"name": "confidence", "threshold": 0.0}
    candidates = {
        "dense": {"run": run, "engine": "huggingface_sdpa_padded"},
        "own": run,
        "first head": {"run": run, "exit": now},
        "int8": {"run": run, "engine": "eat_int8", "exit": now, "family": "quantisation"},
    }
    measured = measure_runs(candidates, FEW)
    own = FinishedRun(run)
    trace = read_traces(own).reported
    expected = {
        "own": measure_point(trace, own.exit),
        "first head": measure_point(trace, own.exit.changed(now)),
    }
    rows = {row["name"]: row for row in measured.rows}
    for name, point in expected.items():
        assert rows[name]["accuracy"] == pytest.approx(next(iter(point.metrics.values()))), name
        points = 100 * (rows[name]["accuracy"] - rows["dense"]["accuracy"])
        assert rows[name]["delta_points"] == pytest.approx(points), name
    assert rows["dense"]["delta_points"] is None
    assert rows["int8"]["size_mib"] < 0.6 * rows["own"]["size_mib"]
    assert {row["examples"] for row in measured.rows} == {len(trace)}
    assert measured.split == "validation"
    assert measured.candidates["first head"]["exit"] == own.exit.changed(now).spec
    assert measured.candidates["dense"]["exit"] is None

    folder = tmp_path / "queries"
    table = write_queries(measured, folder, "made up")
    assert table.startswith("made up\n")
    assert [row["name"] for row in QUERIES.read(folder / "queries.csv")] == list(candidates)
    assert json.loads((folder / "queries.json").read_text())["candidates"]["int8"]["engine"] == "eat_int8"
    assert "| first head |" in (folder / "queries.md").read_text()
    assert [row["family"] for row in QUERIES.read(folder / "queries.csv")] == [None, None, None, "quantisation"]
    drawn = {f"{name}.{kind}" for name in ("queries", "families") for kind in ("png", "pdf")}
    assert {path.name for path in folder.iterdir()} == {f"queries.{kind}" for kind in ("csv", "json", "md")} | drawn
    assert "![](families.png)" in (folder / "queries.md").read_text()


def test_an_engine_serves_at_its_certified_point(run: Path) -> None:
    pytest.importorskip("onnxruntime")
    evaluate_run(run, engine="eat_onnx", stages=["certify"], certify={"max_drop": 0.6, "confidence": 0.8})
    measured = measure_runs({"served": {"run": run, "engine": "eat_onnx"}}, FEW)
    certified = json.loads((run / "engines" / "eat_onnx.json").read_text())["certificate"]["exit"]
    assert measured.candidates["served"]["exit"] == certified
    assert np.isfinite(measured.rows[0]["latency_ms_mean"])


@pytest.mark.parametrize(
    ("candidates", "said"),
    [
        (3, r"^candidates: expected some by name, as \{dense: runs/sst2/...\}, got 3$"),
        ({}, "^candidates: expected some by name"),
        (
            {"a": {"engine": "eat"}},
            r"^candidates\.a: expected a run's folder or a mapping of \('run', 'engine', 'exit', 'family'\)",
        ),
        ({"a": {"run": ".", "exits": {}}}, r"^candidates\.a: expected a run's folder or a mapping"),
        ({"a": {"run": ".", "engine": "eat_int4"}}, r"^candidates\.a\.engine: expected one of .*, got 'eat_int4'"),
    ],
)
def test_what_is_no_candidate_is_refused(candidates: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        measure_runs(candidates)


def test_a_dense_engine_has_no_exit_and_a_split_must_be_there(run: Path) -> None:
    with pytest.raises(ValueError, match=r"^candidates\.a\.exit: expected none, huggingface_sdpa_padded runs"):
        measure_runs({"a": {"run": run, "engine": "huggingface_sdpa_padded", "exit": {"threshold": 0.5}}})
    with pytest.raises(ValueError, match=r"^candidates\.a\.family: expected a name, got 3"):
        measure_runs({"a": {"run": run, "family": 3}})
    with pytest.raises(ValueError, match=r"^split: expected one of .*'validation'.*, got 'dev'"):
        measure_runs({"a": run}, QuerySettings(split="dev"))
    with pytest.raises(FileNotFoundError, match=r"^candidates\.a: no folder"):
        measure_runs({"a": run.parent / "none"})


@pytest.mark.parametrize(("name", "value"), [("queries", 1), ("warm_ups", -1), ("threads", 0)])
def test_settings_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        QuerySettings(**{name: value})
