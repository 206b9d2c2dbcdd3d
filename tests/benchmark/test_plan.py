"""A budget in, an operating point out: which one is chosen, what is refused, what is written."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eat.benchmark.contenders import ALL_OFF, PADDED
from eat.benchmark.latency.candidates import Candidate, choose, predict_candidates
from eat.benchmark.latency.model import WORK, LatencyModel, WorkCounter
from eat.benchmark.latency.plan import PlanSettings, draw_rows
from eat.benchmark.latency.planned import Plan, read_plan
from eat.evaluation import evaluate_run
from eat.evaluation.report.plan import plan_markdown, plan_table
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.runs.finished import FinishedRun
from eat.traces.replay import replay
from eat.traces.sweeps import candidate_points
from eat.traces.trace import Trace
from tests.made.runs import write_run

QUICK = {"batch_size": 4, "rounds": 1, "warmup": 1, "seconds": 0.5}


def candidate(threshold: float | None, value: float, latency_ms: float) -> Candidate:
    spec = {"name": "never"} if threshold is None else {"name": "confidence", "threshold": threshold}
    return Candidate(OperatingPoint.of(spec), value, latency_ms, latency_ms, latency_ms, 12.0 / latency_ms)


CANDIDATES = (
    candidate(None, 0.90, 8.0),
    candidate(0.0, 0.70, 3.0),
    candidate(0.5, 0.85, 4.0),
    candidate(0.6, 0.80, 5.0),
    candidate(0.7, 0.85, 6.0),
)


@pytest.mark.parametrize(
    ("budget", "threshold"),
    [
        ({"latency_ms": 9.0}, None),
        ({"latency_ms": 7.0}, 0.5),  # as accurate as 0.7, and faster
        ({"latency_ms": 4.0}, 0.5),
        ({"latency_ms": 3.9}, 0.0),
        ({"speedup": 1.4}, None),
        ({"speedup": 2.0}, 0.5),
        ({"speedup": 4.0}, 0.0),
    ],
)
def test_the_most_accurate_that_fits(budget: dict[str, float], threshold: float | None) -> None:
    assert choose(CANDIDATES, **budget).exit.threshold == threshold


def test_an_undefined_metric_is_chosen_last() -> None:
    undefined = candidate(0.1, float("nan"), 1.0)
    assert choose([*CANDIDATES, undefined], latency_ms=3.5).value == 0.70
    assert choose([*CANDIDATES, undefined], latency_ms=1.5) is undefined


@pytest.mark.parametrize(
    ("budget", "said"), [({"latency_ms": 2.5}, "plan.latency_ms=2.5"), ({"speedup": 5.0}, "plan.speedup=5")]
)
def test_an_impossible_budget_names_the_fastest_point_and_what_it_costs(budget: dict[str, float], said: str) -> None:
    message = rf"{said}: .* confidence threshold=0.0, needs 3.00 ms .*4.00x.*costs 20.00 points .*0.7000 .*0.9000"
    with pytest.raises(ValueError, match=message):
        choose(CANDIDATES, **budget)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "exactly one .* got neither"),
        ({"latency_ms": 5, "speedup": 2}, "got plan.latency_ms=5 and plan.speedup=2"),
        ({"latency_ms": 0}, "plan.latency_ms: expected a number above 0, got 0"),
        ({"speedup": -1.0}, "plan.speedup: expected a number above 0"),
        ({"speedup": float("nan")}, "plan.speedup: expected a number above 0, got nan"),
        ({"speedup": 2, "seconds": 0}, "plan.seconds: expected a number above 0"),
        ({"speedup": 2, "batch_size": 0}, "plan.batch_size: expected an integer of 1 or more, got 0"),
        ({"speedup": 2, "threads": 0}, "plan.threads: expected an integer of 1 to 1024, got 0"),
        ({"speedup": 2, "warmup": 0}, "plan.warmup: expected an integer of 1 or more, got 0"),
    ],
)
def test_nonsense_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlanSettings(**values)


def test_every_call_is_full() -> None:
    drawn = draw_rows(500, PlanSettings(speedup=2, batch_size=32, examples=100))
    assert len(drawn) == 256 and len(set(drawn.tolist())) == 256  # enough calls for an interval
    assert len(draw_rows(70, PlanSettings(speedup=2, batch_size=32))) == 64
    with pytest.raises(
        ValueError, match=r"plan.batch_size: expected at most the 8 texts of the threshold split, got 9"
    ):
        draw_rows(8, PlanSettings(speedup=2, batch_size=9))


def test_candidates_are_all_criteria_each_decision_once(trace: Trace) -> None:
    points = list(candidate_points(trace))
    decisions = {(point == FULL_DEPTH, run.exit_depth.tobytes()) for point, run in points}
    assert len(decisions) == len(points)
    assert {"never", "confidence", "patience"} <= {point.name for point, _ in points}
    assert any(point.name == "patience" and point.threshold is not None for point, _ in points)
    assert any(set(run.exit_depth) == {trace.head_depths[0]} for _, run in points)


def test_regression_has_full_depth_and_patience_by_difference(made_trace: Callable[..., Trace]) -> None:
    scores = made_trace(np.zeros((3, 3, 1)), [0.0, 1.0, 2.0], (1, 2, 3))
    found = [(point.name, set(run.exit_depth.tolist())) for point, run in candidate_points(scores)]
    assert found == [("never", {3}), ("difference", {3}), ("difference", {2})]


def test_candidates_are_predicted_on_the_texts_and_judged_on_the_split(
    model: AdaptiveForSequenceClassification, trace: Trace
) -> None:
    seconds = dict.fromkeys(WORK, 0.0) | {"calls": 1e-3, "head_sequences": 1e-3}
    latency = LatencyModel(WorkCounter(model.config), 2, seconds, 0.0)
    rows = np.array([5, 2, 9, 30])
    candidates = predict_candidates(trace, rows, latency, 21.0)
    assert candidates[0].exit == FULL_DEPTH and candidates[0].latency_ms == pytest.approx(1 + 2)
    for found in candidates[1:]:
        run = replay(trace, found.exit)
        heads = run.exit_depth[rows]  # heads at depths 1 to 4: as many as the depth
        calls = 1 + heads.reshape(2, 2).sum(axis=1)
        assert found.latency_ms == pytest.approx(calls.mean())
        assert found.latency_ms_p95 == pytest.approx(np.percentile(calls, 95))
        assert found.speedup == pytest.approx(21.0 / calls.mean())
        assert found.value == pytest.approx(float((run.logits.argmax(axis=1) == trace.labels).mean()))


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        without_figures(patch)
        folder = write_run(tmp_path_factory.mktemp("runs") / "small")
        evaluate_run(folder, stages=["plan"], plan=QUICK | {"speedup": 1e-3, "threads": 1})
    return folder


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    without_figures(monkeypatch)


def without_figures(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("eat.evaluation.report.section.draw", lambda *_: None)


def plan_of(run: Path) -> Plan:
    plan = read_plan(run / "report", FinishedRun(run).fingerprint())
    assert plan is not None
    return plan


def test_a_plan_survives_its_file(planned: Path) -> None:
    values = json.loads((planned / "report" / "plan.json").read_text())
    again = json.loads(json.dumps(plan_of(planned).to_json()))
    assert {"run": "small", "fingerprint": FinishedRun(planned).fingerprint()} | again == values
    assert read_plan(planned / "report", "of other weights") is None
    path = next((Path(__file__).parents[2] / "results").glob("*/*/report/plan.json"))
    committed = json.loads(path.read_text())
    read = read_plan(path.parent, committed["fingerprint"])
    assert read is not None
    assert json.dumps({key: committed[key] for key in ("run", "fingerprint")} | read.to_json()) == json.dumps(committed)


def test_a_plan_is_written(planned: Path) -> None:
    plan = json.loads((planned / "report" / "plan.json").read_text())
    values = [c["value"] for c in plan["candidates"]]
    chosen = next(c for c in plan["candidates"] if c["exit"] == plan["exit"])
    assert chosen["value"] == max(values)  # everything fits
    assert chosen["latency_ms"] == min(c["latency_ms"] for c in plan["candidates"] if c["value"] == max(values))
    assert plan["predicted"]["latency_ms"] == chosen["latency_ms"]
    assert plan["predicted"]["speedup"][PADDED][0] == pytest.approx(chosen["speedup"])
    assert plan["budget"] == {"speedup": 1e-3} and (plan["batch_size"], plan["threads"], plan["texts"]) == (4, 1, 8)
    assert plan["agreement"] == [8, 8]
    assert set(plan["measured"]["speedup"]) == {PADDED, ALL_OFF}
    assert {name: split["examples"] for name, split in plan["quality"].items()} == {"threshold": 8, "validation": 40}
    assert set(plan["calibration"]["microseconds"]) == set(WORK)
    assert list(plan["calibration"]["depth_ms"]) == ["1", "2", "3", "4"]


def test_the_report_says_how_to_use_it(planned: Path) -> None:
    plan = plan_of(planned)
    text = (planned / "report" / "plan.md").read_text()
    for key, value in plan.exit.spec.items():
        assert (f"exit={value}" if key == "name" else f"exit.{key}={value}") in text
        assert f"{key}={value!r}" in text
    assert "if all exit there: " in text
    assert "the budget is kept as measured" in text and "threads: 1" in text
    assert str(planned.parent) not in text  # nothing of this machine
    table = plan_table(plan)
    assert "predicted" in table and "speed-up over Hugging Face, padded" in table
    assert "accuracy: threshold, validation" in table


def test_a_missed_budget_is_said(planned: Path) -> None:
    plan = plan_of(planned)
    missed = dataclasses.replace(plan, budget={"latency_ms": plan.measured.latency_ms / 2})
    assert "the budget is MISSED as measured" in plan_markdown(missed)


def test_a_plan_needs_its_budget_and_a_budget_its_plan(planned: Path) -> None:
    with pytest.raises(ValueError, match=r"exactly one of .* got neither"):
        evaluate_run(planned, stages=["plan"])
    with pytest.raises(ValueError, match=r"expected 'plan' among the stages, got \['quality'\]"):
        evaluate_run(planned, stages=["quality"], plan={"speedup": 2})
    with pytest.raises(ValueError, match=r"plan.latency: expected one of .* \(did you mean 'latency_ms'\?\)"):
        evaluate_run(planned, plan={"latency": 2})


def test_an_impossible_budget_is_refused(planned: Path) -> None:
    before = (planned / "report" / "plan.md").read_text()
    with pytest.raises(ValueError, match=r"plan.latency_ms=1e-06: .* The fastest, .* ms per call .* points"):
        evaluate_run(planned, stages=["plan"], plan=QUICK | {"latency_ms": 1e-6})
    assert (planned / "report" / "plan.md").read_text() == before


def test_without_weights_there_is_no_plan(planned: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    shutil.copytree(planned, folder, ignore=shutil.ignore_patterns("model", "report"))
    for stages in (["plan"], None):
        with pytest.raises(FileNotFoundError, match="the plan needs weights"):
            evaluate_run(folder, stages=stages, plan={"speedup": 2})
    evaluate_run(folder)
    assert not (folder / "report" / "plan.json").exists()


def test_without_held_out_texts_there_is_no_plan(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "small")
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("threshold_examples: 8", "threshold_examples: 0"))
    with pytest.raises(ValueError, match="plan: expected a threshold split, small has"):
        evaluate_run(folder, stages=["plan"], plan=QUICK | {"speedup": 1e-3})


def test_a_regression_run_can_only_keep_its_full_depth(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "scores", exit={"name": "never"}, regression=True)
    evaluate_run(folder, stages=["plan"], plan=QUICK | {"latency_ms": 1e6})
    plan = json.loads((folder / "report" / "plan.json").read_text())
    assert plan["exit"] == {"name": "never"} and plan["metric"] == "pearson"
    assert plan["agreement"] == [8, 8]
    assert "model.set_exit(name='never')" in (folder / "report" / "plan.md").read_text()
