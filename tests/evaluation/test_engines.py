"""Traces, temperatures and certificates are made again for the engine that serves, and hold for it alone."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eat.benchmark.engines import ENGINES as ENGINES_BY_NAME
from eat.benchmark.engines.ctranslate2 import CTranslate2
from eat.benchmark.engines.engine import CALIBRATION_ROWS
from eat.benchmark.engines.onnx import OnnxRuntime
from eat.benchmark.engines.openvino import OpenVino
from eat.benchmark.run import BenchmarkSettings
from eat.benchmark.tokenizing import encoded_examples, training_rows
from eat.evaluation import combine, evaluate_run
from eat.evaluation.context import Evaluation
from eat.evaluation.report.table import read_rows
from eat.evaluation.stages.benchmark import _served
from eat.exits.points import OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.engines import EngineId, in_torch, numbers_of
from eat.runs.data import load_data
from eat.runs.finished import FinishedRun
from eat.traces.quality import measure_point
from eat.traces.replay import replay
from eat.traces.run_traces import read_traces
from eat.traces.storage import read_trace
from tests.made.models import EXIT

ENGINES = ("eat_int8", "eat_bf16", "eat_onnx", "eat_onnx_int8", "eat_onnx_static")
BUDGET = {"max_drop": 0.6, "confidence": 0.8}  # ten examples certify little
SPLITS = ("threshold", "certification", "validation", "validation.all_off")


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eat.evaluation.report.section.draw", lambda *_: None)


@pytest.fixture(scope="module")
def served(traced: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was certified with each engine; tests only read it, or copy it."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    folder = Path(shutil.copytree(traced, tmp_path_factory.mktemp("served") / "small"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eat.evaluation.report.section.draw", lambda *_: None)
        for engine in ("eat", *ENGINES):
            evaluate_run(folder, engine=engine, stages=["certify", "sweep"], certify=BUDGET)
    return folder


@pytest.fixture
def copied(served: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(served, tmp_path / "small"))


def engine_id(run: Path, name: str) -> EngineId:
    values = read_trace(run / "trace" / name / "validation.parquet").metadata
    return EngineId(name, values["bits"])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def without_command(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: re.sub(rb"    python evaluate.py .*", b"", text) for name, text in files.items()}


def test_each_engine_has_traces_of_its_own(traced: Path, served: Path) -> None:
    assert contents(served / "trace") == contents(traced / "trace"), "eat's own stay, byte for byte"
    found: dict[str, np.ndarray] = {}
    for name in ENGINES:
        traces = {split: read_trace(served / "trace" / name / f"{split}.parquet") for split in SPLITS}
        assert {trace.metadata["engine"] for trace in traces.values()} == {name}
        found[name] = traces["validation"].all_logits
        assert not np.array_equal(found[name], traces["validation.all_off"].all_logits)
    exact = read_trace(served / "trace" / "validation.parquet").all_logits
    np.testing.assert_allclose(found["eat_onnx"], exact, atol=1e-4)
    assert 1e-5 < np.abs(found["eat_bf16"] - exact).max() < 0.05
    for name in ("eat_int8", "eat_onnx_int8", "eat_onnx_static"):
        assert 1e-3 < np.abs(found[name] - exact).max() < 1, "int8 answers otherwise"
    run = FinishedRun(served)
    names = {run.raw_fingerprint(engine_id(served, name)) for name in ENGINES} | {run.raw_fingerprint()}
    assert len(names) == 6


def test_float32_traces_never_pass_as_an_engines(copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    own = copied / "trace" / "eat_int8" / "validation.parquet"
    before = own.read_bytes()
    shutil.copy(copied / "trace" / "validation.parquet", own)
    with pytest.raises(ValueError, match="expected the engine 'eat_int8', got 'eat'"):
        read_traces(FinishedRun(copied), in_torch("eat_int8"))
    evaluate_run(copied, engine="eat_int8", stages=["quality"])
    assert "traces are made anew" in caplog.text and own.read_bytes() == before


def test_reports_lie_apart_and_say_which_engine(served: Path, traced: Path) -> None:
    for name in ENGINES:
        report = served / "report" / name
        text = (report / "summary.md").read_text()
        assert f"Engine: {name}" in text and f" engine={name} " in text
        assert json.loads((report / "operating_point.json").read_text())["engine"] == name
        rows = read_rows(report / "frontier.csv")
        assert {(row["engine"], row["model"]) for row in rows} == {(name, "eat")}
        assert f"in {name}" in json.loads((report / "certificate.json").read_text())["certificate"]["reference"]
    plain = (served / "report" / "summary.md").read_text()
    assert "Engine:" not in plain and "engine=" not in plain
    assert {row["engine"] for row in read_rows(served / "report" / "frontier.csv")} == {None}


def test_reports_rebuild_without_weights(copied: Path) -> None:
    folders = [copied / "report", *(copied / "report" / name for name in ENGINES)]
    before = [without_command(contents(folder)) for folder in folders]
    shutil.rmtree(copied / "model")
    shutil.rmtree(copied / "engines")
    for engine in ("eat", *ENGINES):
        evaluate_run(copied, engine=engine, stages=["quality", "sweep"])
    assert [without_command(contents(folder)) for folder in folders] == before


def test_an_engine_carries_its_own_certificate(served: Path, tmp_path: Path) -> None:
    run = FinishedRun(served)
    own = run.load_model("cpu")
    assert own.config.certificate is not None and "engine" not in own.config.certificate
    model = run.load_model("cpu", engine="eat_int8")
    certificate = model.config.certificate
    assert certificate is not None and certificate["engine"] == "eat_int8" and model.config.exit == certificate["exit"]
    model.save_pretrained(tmp_path / "int8")
    again = AdaptiveForSequenceClassification.from_pretrained(tmp_path / "int8")
    assert again.config.certificate == certificate and again.config.exit == certificate["exit"]
    for name in ENGINES[1:]:
        _, granted = run.model_of(engine_id(served, name))
        assert granted is not None and granted["engine"] == name


def test_a_certificate_of_another_engine_is_refused(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    evaluate_run(run, stages=["certify"], certify=BUDGET)
    finished = FinishedRun(run)
    message = (
        r"has a certificate of eat, which says nothing of eat_int8.*engine=eat_int8 stages=\[certify\] "
        r"certify.max_drop=0.6`, or do without"
    )
    with pytest.raises(ValueError, match=message) as caught:
        finished.load_model("cpu", engine="eat_int8")
    assert "\n" not in str(caught.value)
    dropped = finished.load_model("cpu", engine="eat_int8", certified=False)
    assert dropped.config.certificate is None and dropped.config.engine is not None
    # Another engine's certificate inside a saved model is withdrawn when it is loaded.
    path = run / "model" / "config.json"
    config = json.loads(path.read_text())
    config["certificate"] |= {"engine": "eat_int8"}
    del config["certificate"]["digest"]
    del config["fingerprint"]
    path.write_text(json.dumps(config))
    model = AdaptiveForSequenceClassification.from_pretrained(run / "model")
    assert model.config.certificate is None and model.config.exit == {"name": "never"}
    assert "it was made with the engine eat_int8, and this is eat" in caplog.text


def test_a_certificate_of_int8_alone_is_refused_in_float32_segments(copied: Path) -> None:
    for name in ("eat_onnx", "eat_bf16"):
        (copied / "engines" / f"{name}.json").unlink()
    path = copied / "model" / "config.json"
    config = {key: value for key, value in json.loads(path.read_text()).items() if key != "certificate"}
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="has a certificate of eat_int8, which says nothing of eat_onnx; certify"):
        FinishedRun(copied).model_of(EngineId("eat_onnx"))


def test_a_certificate_ends_where_what_it_is_about_has_changed(copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = in_torch("eat_int8")
    finished = FinishedRun(copied)
    path = copied / "engines" / "eat_int8.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps(state | {"temperatures": [1.0, 2.0, 1.0, 1.0]}))
    with pytest.raises(ValueError, match="has a certificate of eat_int8, which no longer holds"):
        finished.load_model("cpu", engine="eat_int8")
    report = evaluate_run(copied, engine="eat_int8", stages=["quality"])
    assert json.loads((report.folder / "operating_point.json").read_text())["exit"] == EXIT
    path.write_text(json.dumps(state | {"certificate": state["certificate"] | {"bound": 0.001}}))
    with pytest.raises(ValueError, match="was edited after it was granted"):
        finished.load_model("cpu", engine="eat_int8")
    path.write_text(json.dumps(state | {"fingerprint": "0" * 16}))
    assert finished.engine_state(engine) is None and "about other weights or other bits" in caplog.text
    path.write_text(json.dumps(state | {"temperatures": [1.0, "hot"]}))
    with pytest.raises(ValueError, match=r"eat_int8.json is damaged \(temperatures: expected a number above 0"):
        finished.engine_state(engine)
    path.write_text(json.dumps(state))
    assert finished.load_model("cpu", engine="eat_int8").config.certificate is not None


def test_temperatures_are_the_engines_own(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, fitted = (run / "model" / "config.json").read_bytes(), (1.5, 2.0, 1.0, 1.25)
    monkeypatch.setattr("eat.evaluation.stages.calibrate.fit_temperatures", lambda *_: fitted)
    evaluate_run(run, engine="eat_int8", stages=["calibrate", "certify"], certify=BUDGET)
    assert (run / "model" / "config.json").read_bytes() == saved
    finished = FinishedRun(run)
    model = finished.load_model("cpu", engine="eat_int8")
    calibration = json.loads((run / "report" / "eat_int8" / "calibration.json").read_text())
    assert model.temperatures == fitted == tuple(calibration["temperatures"]) and calibration["engine"] == "eat_int8"
    assert model.config.certificate is not None
    traces = read_traces(finished, in_torch("eat_int8"))
    assert traces.fingerprint == finished.fingerprint(in_torch("eat_int8")) and traces.reported.temperatures is not None
    assert finished.temperatures() is None and read_trace(run / "trace" / "validation.parquet").temperatures is None


def live_in_torch(run: FinishedRun, engine: EngineId, point: OperatingPoint) -> Callable[[Any], Any]:
    model = run.load_model("cpu", engine=engine.name)
    model.set_exit(**point.spec)

    def answer(batch: Any) -> Any:
        ids = torch.tensor([token for example in batch for token in example["input_ids"]])
        with torch.inference_mode():
            return model(ids, lengths=torch.tensor([len(example["input_ids"]) for example in batch]))

    return answer


def live_export(run: FinishedRun, engine: EngineId, folder: Path, point: OperatingPoint) -> Callable[[Any], Any]:
    from eat.deployment import OnnxClassifier, export_onnx

    model, certificate = run.model_of(engine)
    rows = training_rows(load_data(run), CALIBRATION_ROWS) if engine.name == "eat_onnx_static" else None
    int8 = engine.bits is not None
    export_onnx(model, run.folder / "model", folder, int8=int8, calibration=rows, certificate=certificate)
    served = OnnxClassifier.from_folder(folder)
    granted = served.manifest.certificate
    assert granted == certificate and granted is not None and served.manifest.exit == granted["exit"]
    served = served if point.spec == granted["exit"] else served.changed(exit=point.spec)

    def answer(batch: Any) -> Any:
        ids = [token for example in batch for token in example["input_ids"]]
        return served.run(ids, [len(example["input_ids"]) for example in batch])

    return answer


@pytest.mark.parametrize("batch_size", [1, 32])
@pytest.mark.parametrize("name", ENGINES)
def test_claims_replay_as_answered_live(served: Path, tmp_path: Path, name: str, batch_size: int) -> None:
    run, engine = FinishedRun(served), engine_id(served, name)
    trace = read_traces(run, engine).reported
    certificate = json.loads((served / "report" / name / "certificate.json").read_text())["certificate"]
    sure = np.sort(torch.from_numpy(trace.all_logits[:, 1]).softmax(1).amax(1).numpy())
    between = float(sure[len(sure) // 2 : len(sure) // 2 + 2].mean())
    points = [OperatingPoint.of(certificate["exit"]), OperatingPoint.of({"name": "confidence", "threshold": between})]
    examples = encoded_examples(load_data(run, {}), "validation", range(len(trace)))
    for point in points:
        in_torch = numbers_of(name) is not None
        live = live_in_torch(run, engine, point) if in_torch else live_export(run, engine, tmp_path / point.slug, point)
        outputs = [live(examples[start : start + batch_size]) for start in range(0, len(examples), batch_size)]
        replayed = replay(trace, point)
        np.testing.assert_array_equal(np.concatenate([one.exit_depth for one in outputs]), replayed.exit_depth)
        np.testing.assert_array_equal(np.concatenate([one.tokens_kept for one in outputs]), replayed.tokens_kept)
        labels = np.concatenate([one.logits.argmax(1) for one in outputs])
        np.testing.assert_array_equal(labels, replayed.logits.argmax(1))
    assert len(set(replayed.exit_depth.tolist())) > 1, "some leave early and some do not"


def test_the_benchmark_times_what_each_engine_serves(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eat.benchmark.engines.quantized.why_not", lambda _: None)
    for engine in (OpenVino, CTranslate2, OnnxRuntime):
        monkeypatch.setattr(engine, "why_not", lambda self, device: "left out of this test")
    uncertified = copied / "engines" / "eat_onnx.json"
    uncertified.unlink()
    quick = {"examples": 8, "rounds": 1, "warmup": 0, "batch_sizes": [1, 4], "threads": [1], "memory": False}
    report = evaluate_run(copied, stages=["benchmark"], benchmark=quick)
    measured = json.loads((report.folder / "benchmark.json").read_text())
    served = {m["engine"]: m for m in measured["measurements"] if m["exit"] and m["engine"] != "eat"}
    assert set(served) == set(ENGINES)
    rows = [row for row in read_rows(report.folder / "frontier.csv") if row["model"] == "other_engine"]
    assert [row["engine"] for row in rows if row["batch_size"] == 4] == list(ENGINES)
    run = FinishedRun(copied)
    for name, one in served.items():
        traces = read_traces(run, engine_id(copied, name))
        exit = OperatingPoint.of(one["exit"])
        if name != "eat_onnx":
            assert exit.spec == run.model_of(engine_id(copied, name))[1]["exit"]
        assert one["contender"] == f"{name}: {exit.label}"
        assert measured["agreement"][one["contender"]] == [8, 8], "live as replayed on the traces of the engine"
        point = measure_point(traces.reported, exit)
        row = next(row for row in rows if row["engine"] == name)
        assert row["value"] == pytest.approx(point.metrics["accuracy"]) and row["speedup"] is not None
        assert row["avg_depth"] == pytest.approx(point.avg_depth) and row["dtype"] == ENGINES_BY_NAME[name].dtype
        baseline = measured["agreement"][name]
        assert baseline[1] == 8 and (name != "eat_onnx" or baseline[0] == 8), "with everything off, as eat's own"
    text = (report.folder / "summary.md").read_text()
    assert "eat, int8, confidence threshold" in text and "(of the same engine)" in text
    before = {path.name: path.read_text() for path in report.folder.glob("*.[cm]*")}
    shutil.rmtree(copied / "model")
    for name in ENGINES:
        shutil.rmtree(copied / "trace" / name)
    evaluate_run(copied, stages=["quality"])
    assert {path.name: path.read_text() for path in report.folder.glob("*.[cm]*")} == before


def test_engines_without_traces_are_named_in_one_line(
    traced: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for engine in ENGINES_BY_NAME.values():
        monkeypatch.setattr(type(engine), "why_not", lambda self, device: None)
    assert not list(_served(Evaluation(FinishedRun(traced), None, {}), BenchmarkSettings()))
    (line,) = [message for message in caplog.messages if message.startswith("benchmark: ")]
    assert line.startswith(f"benchmark: {', '.join(ENGINES)} run with everything off alone")


def test_reports_of_engines_stand_in_one_table(served: Path, tmp_path: Path) -> None:
    table = combine([served / "report", served / "report" / "eat_int8"], tmp_path)
    assert "small in eat_int8" in table and "eat_int8: confidence" in table and "left out" not in table


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "eat_int9"}, r"engine: expected one of .* got 'eat_int9' \(did you mean 'eat_int8'\?\)"),
        ({"engine": "onnxruntime_fp32"}, r"engine: expected one that says what every head answers, such as \['eat', "),
        ({"engine": "eat_int8", "device": "cuda"}, "engine: eat_int8 cannot run here: measured on a CPU only"),
        ({"engine": "eat_int8", "stages": ["benchmark"]}, "stages: benchmark is about all engines at once, got engine"),
        ({"engine": "eat_int8", "plan": {"speedup": 2}}, "stages: plan is about all engines at once"),
    ],
)
def test_bad_options_are_named(
    run: Path, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=message):
        evaluate_run(run, **options)
    assert not (run / "trace" / "eat_int8").exists()
