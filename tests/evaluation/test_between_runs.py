"""Criteria compared over runs: how points are chosen, what is certified of them, and the files that come of it."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from eat.evaluation import combine, evaluate_run
from eat.evaluation.between_runs.exits import ALL, DROPS, ExitTable, halfway_point, make_exit_tables
from eat.evaluation.certify.certificate import make_certificate
from eat.evaluation.certify.settings import CertifySettings
from eat.evaluation.report.table import read_rows
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.runs.finished import FinishedRun
from eat.traces.grid import exit_heads, measure_grid
from tests.made.runs import least_config, write_run
from tests.made.traces import as_runs, make_run, make_trace


@pytest.fixture(scope="module")
def traces() -> dict[str, Any]:
    return make_run(certification=700)


@pytest.fixture(scope="module")
def table(traces: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> ExitTable:
    tmp_path = tmp_path_factory.mktemp("runs")
    dense = {"validation": last_head(traces["validation"])}
    runs = as_runs(early=traces, dense=dense)
    for name in runs:
        (tmp_path / name / "trace").mkdir(parents=True)
        (tmp_path / name / "config.yaml").write_text(least_config())
        (tmp_path / name / "trace" / "validation.parquet").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eat.evaluation.between_runs.exits.read_traces", lambda run: runs[run.name])
        patch.setattr("eat.traces.quality.paired_share_interval", lambda *_: (0.0, 0.0))
        (made,) = make_exit_tables([FinishedRun(tmp_path / name) for name in ("dense", "early")])
    return made


def last_head(trace: Any) -> Any:
    return dataclasses.replace(trace, all_logits=-trace.all_logits[:, -1:], head_depths=trace.head_depths[-1:])


def test_half_depth_is_the_deepest_point_within_half_of_the_layers() -> None:
    trace = make_trace(400, "threshold", seed=0)
    points = OperatingPoint("confidence").at(np.linspace(0.5, 1, 101).tolist())
    depths = measure_grid(trace, points).avg_depth
    chosen = halfway_point(trace, points)
    heads = exit_heads(trace, points) + 1
    within = [depth for depth, at in zip(depths, heads, strict=True) if depth + at.std() / 20 <= 1.5]
    assert chosen is not None and depths[points.index(chosen)] == max(within) > 1.4
    assert halfway_point(trace, [FULL_DEPTH]) is None


def test_between_criteria_the_more_accurate_one_is_chosen() -> None:
    trace = make_trace(400, "threshold", seed=0)
    points = [*OperatingPoint("confidence").at([0.9]), *OperatingPoint("margin").at([0.1])]
    grid = measure_grid(trace, points)
    assert (
        (grid.avg_depth <= 1.5).all() and grid.values[0] > grid.values[1] and grid.flops_ratio[0] > grid.flops_ratio[1]
    )
    assert halfway_point(trace, points) == halfway_point(trace, points[::-1]) == points[0]
    assert halfway_point(trace, points[1:]) == points[1]


def test_every_criterion_is_there_and_the_choice_among_all_is_one_of_them(table: ExitTable) -> None:
    names = [line.criterion for line in table.lines]
    assert {"confidence", "entropy", "margin", "patience", "agreement"} < set(names)
    assert names[-1] == ALL and "difference" not in names and "never" not in names
    chosen = [line.chosen.exit for line in table.lines if line.chosen is not None]
    assert chosen[-1] in chosen[:-1]
    assert all(line.chosen is None or line.chosen.delta is not None for line in table.lines)


def test_certified_points_are_those_of_the_certify_stage(table: ExitTable, traces: dict[str, Any]) -> None:
    for name, criteria in (("confidence", ("confidence",)), (ALL, ())):
        line = next(line for line in table.lines if line.criterion == name)
        assert line.certified[-1] is not None
        for drop, certified in zip(DROPS, line.certified, strict=True):
            settings = CertifySettings(max_drop=drop, criteria=criteria)
            expected = make_certificate(as_runs(early=traces), settings).certificate
            if expected is None:
                assert certified is None
            else:
                assert certified is not None and certified.exit == expected.exit


def test_full_depth_is_compared_with_the_one_dense_run(table: ExitTable, traces: dict[str, Any]) -> None:
    reported = traces["validation"]
    right = (reported.all_logits[:, -1].argmax(1) == reported.labels).mean()
    delta = table.full_depth.delta_dense
    assert delta is not None and delta.points == pytest.approx(100 * (right - (1 - right)))  # the dense one says no


def test_one_early_head_is_enough(traces: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience never leaves early there, which must not keep the other criteria out of the table."""
    two = {
        name: dataclasses.replace(t, all_logits=t.all_logits[:, 1:], head_depths=(2, 3)) for name, t in traces.items()
    }
    monkeypatch.setattr("eat.evaluation.between_runs.exits.read_traces", lambda run: as_runs(two=two)["two"])
    monkeypatch.setattr("eat.evaluation.between_runs.exits.DROPS", DROPS[-1:])
    (tmp_path / "trace").mkdir()
    (tmp_path / "config.yaml").write_text(least_config())
    (tmp_path / "trace" / "validation.parquet").touch()
    (table,) = make_exit_tables([FinishedRun(tmp_path)])
    certified = {line.criterion: line.certified for line in table.lines}
    assert certified["patience"] == (None,) and certified["confidence"][-1] is not None


@pytest.mark.figures
def test_files_of_a_combined_report(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    folders = [write_run(tmp_path / "pruned"), write_run(tmp_path / "unpruned", pruner={"name": "none"})]
    for folder in folders:
        evaluate_run(folder, stages=["quality"], device="cpu")
    combine(folders, tmp_path / "out")
    text = (tmp_path / "out" / "exits.md").read_text()
    assert "pruner l2_norm" in text and "pruner none" in text and "2 of 4 layers" in text
    assert text.count(" patience |") == 2  # each criterion is named, also where it has no point at half depth
    rows = read_rows(tmp_path / "out" / "exits.csv")
    assert {row["run"] for row in rows} == {"pruned", "unpruned"} and {row["split"] for row in rows} == {"validation"}
    assert {"full depth", "half of the layers on the threshold split"} <= {row["note"] for row in rows}
    assert (tmp_path / "out" / "exits.png").stat().st_size > 1000
    reasons = [message for message in caplog.messages if message.startswith("exits: not certified")]
    assert len(reasons) == len(set(reasons)) and reasons[0].startswith("exits: not certified in 2 of 2 runs: ")
    height, width, _ = imread(tmp_path / "out" / "combined.png").shape
    assert width < 1.5 * height  # one panel: nothing was timed
    combine(folders[:1], tmp_path / "one")
    assert not (tmp_path / "one" / "exits.md").exists()  # nothing to compare
