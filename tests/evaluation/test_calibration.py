"""Calibration of a run: what is fitted, what the saved model then does, and what traces and reports make of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from eat.benchmark.tokenizing import encoded_examples
from eat.evaluation import evaluate_run
from eat.evaluation.calibration import CalibrationSettings, fit_temperatures, read_temperatures
from eat.exits.points import OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.packed import AdaptiveOutput
from eat.runs.data import load_data
from eat.runs.finished import FinishedRun
from eat.traces.heads import measure_heads
from eat.traces.replay import replay
from eat.traces.run_traces import read_raw_traces, read_traces
from tests.made.models import EXIT
from tests.made.runs import write_run


@pytest.fixture
def _fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each head a temperature, which heads that know nothing, as these, would not get."""
    monkeypatch.setattr("eat.evaluation.calibration.fit_temperature", lambda *_: 2.5)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("calibrated") / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eat.evaluation.calibration.fit_temperature", lambda *_: 2.5)
        evaluate_run(folder, stages=["calibrate", "quality"], device="cpu")
    return folder


def load(folder: Path) -> AdaptiveForSequenceClassification:
    return AdaptiveForSequenceClassification.from_pretrained(folder / "model")


def answers(model: AdaptiveForSequenceClassification, run: FinishedRun) -> AdaptiveOutput:
    """Answer the validation texts of a run live."""
    data = load_data(run)
    examples = encoded_examples(data, "validation", range(len(data.splits["validation"])))
    ids = torch.tensor([token for example in examples for token in example["input_ids"]])
    with torch.inference_mode():
        return model(input_ids=ids, lengths=torch.tensor([len(example["input_ids"]) for example in examples]))


def test_measures_of_a_head(made_trace: Any) -> None:
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(60, 2, 2)), generator.integers(0, 2, 60)
    first, second = measure_heads(made_trace(logits, labels, (2, 4)))
    probabilities = np.exp(logits[:, 0]) / np.exp(logits[:, 0]).sum(1, keepdims=True)
    right = probabilities.argmax(1) == labels
    assert (first.depth, second.depth) == (2, 4)
    assert first.accuracy == right.mean() and first.confidence == pytest.approx(probabilities.max(1).mean())
    assert first.brier == pytest.approx(2 * ((probabilities[:, 1] - labels) ** 2).mean())
    assert first.auroc == pytest.approx(roc_auc_score(~right, -probabilities.max(1)))
    assert first.nll == pytest.approx(-np.log(probabilities[np.arange(60), labels]).mean())


def test_no_auroc_where_nothing_is_wrong(made_trace: Any) -> None:
    (head,) = measure_heads(made_trace([[[2.0, 0.0]], [[0.0, 1.0]]], [0, 1], (4,)))
    assert head.auroc is None and head.accuracy == 1


def test_a_temperature_where_the_error_is_above_the_bound_only(made_trace: Any) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4000, 2)) * 2
    labels = (generator.random(4000) < 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))).astype(int)
    trace = made_trace(np.stack([3 * logits, logits], axis=1), labels, (2, 4))
    sure, right = fit_temperatures(trace, 0.02)
    assert sure == pytest.approx(3, rel=0.1) and right == 1
    after = measure_heads(trace.divided((sure, right)))
    assert after[0].ece < 0.02 < measure_heads(trace)[0].ece
    assert after[0].auroc == measure_heads(trace)[0].auroc  # the order of confidence stays
    assert fit_temperatures(trace, 0.0)[1] == pytest.approx(1, rel=0.1)


def test_the_saved_model_answers_what_the_traces_say(calibrated: Path) -> None:
    model, traces = load(calibrated), read_traces(FinishedRun(calibrated))
    report = json.loads((calibrated / "report" / "calibration.json").read_text())
    assert list(model.temperatures) == report["temperatures"] and set(report["temperatures"]) != {1.0}
    trace, raw = traces.splits["validation"], read_raw_traces(FinishedRun(calibrated))["validation"]
    assert np.array_equal(trace.all_logits, raw.all_logits / np.float32(model.temperatures)[:, None])
    live = answers(model, FinishedRun(calibrated))
    replayed = replay(trace, OperatingPoint.of(EXIT))
    assert np.array_equal(live.exit_depth.numpy(), replayed.exit_depth)
    np.testing.assert_allclose(live.logits.numpy(), replayed.logits, rtol=1e-5, atol=1e-5)
    uncalibrated = replay(raw, OperatingPoint.of(EXIT))
    assert not np.array_equal(uncalibrated.exit_depth, replayed.exit_depth)  # or the temperatures do nothing here


@pytest.mark.usefixtures("_fitted")
def test_calibrating_twice_and_without_weights_says_the_same(calibrated: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(calibrated, copy)
    config = (copy / "model" / "config.json").read_bytes()
    before = json.loads((copy / "report" / "calibration.json").read_text())
    evaluate_run(copy, stages=["calibrate"], device="cpu")
    assert (copy / "model" / "config.json").read_bytes() == config
    assert json.loads((copy / "report" / "calibration.json").read_text()) == before
    shutil.rmtree(copy / "model")
    traces = read_traces(FinishedRun(copy))
    assert list(traces.splits["validation"].temperatures) == before["temperatures"]
    evaluate_run(copy, stages=["calibrate"])
    again = json.loads((copy / "report" / "calibration.json").read_text())
    assert again == before | {"applied": False}


@pytest.mark.figures
def test_only_reports_where_that_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run")
    config = (folder / "model" / "config.json").read_bytes()
    evaluate_run(folder, stages=["calibrate"], calibrate={"apply": False}, device="cpu")
    assert (folder / "model" / "config.json").read_bytes() == config
    text = (folder / "report" / "calibration.md").read_text()
    assert "not applied" in text and "AUROC" in text and (folder / "report" / "calibration.png").stat().st_size > 0


@pytest.mark.usefixtures("_fitted")
def test_a_certificate_does_not_outlive_a_calibration(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_run(tmp_path / "run")
    evaluate_run(folder, stages=["certify"], device="cpu", certify={"max_drop": 0.6, "confidence": 0.8})
    assert load(folder).config.certificate is not None
    evaluate_run(folder, stages=["calibrate"], device="cpu")
    caplog.clear()
    loaded = load(folder)
    assert loaded.config.certificate is None and loaded.config.exit["name"] == "never"
    assert "no longer holds" in caplog.text


def test_bad_input(tmp_path: Path, made_trace: Any) -> None:
    for wrong in (-0.1, 1, True):
        with pytest.raises(ValueError, match=r"calibrate.max_ece: expected a number"):
            CalibrationSettings(max_ece=wrong)
    with pytest.raises(ValueError, match=r"all 2 examples of the split .* are of one class, 1"):
        fit_temperatures(made_trace(np.zeros((2, 1, 2)), [1, 1], (4,)), 0.02)
    folder = write_run(tmp_path / "score", regression=True, exit={"name": "never"})
    with pytest.raises(ValueError, match="calibrate: needs class probabilities"):
        evaluate_run(folder, stages=["calibrate"], device="cpu")


@pytest.mark.parametrize(
    "change", [{"splits": "x"}, {"splits": {"validation": "x"}}, {"temperatures": [-1.0]}, {"splits": None}]
)
def test_a_damaged_file_is_named(calibrated: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    trace = read_traces(FinishedRun(calibrated)).splits["validation"]
    path = next(calibrated.glob("**/calibration.json"))
    (tmp_path / path.name).write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=r"calibration\.json is damaged .*; delete it and run stages=\[calibrate\]"):
        read_temperatures(tmp_path, trace)


@pytest.mark.parametrize("damage", ['{"heads": null}', "[]", "{"])
def test_a_damaged_configuration_is_named(tmp_path: Path, damage: str) -> None:
    run = FinishedRun(write_run(tmp_path / "run"))
    path = run.folder / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | json.loads(damage)) if "heads" in damage else damage)
    for read in (run.raw_fingerprint, run.fingerprint, lambda: run.load_model("cpu")):
        with pytest.raises(ValueError, match=r"model/config\.json"):
            read()
