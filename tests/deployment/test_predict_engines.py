"""Exports, int8 and a watched model predict a file as they answer texts elsewhere."""

import dataclasses
import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eat.data.encoding import template_of
from eat.data.tokenizer import read_tokenizer
from eat.deployment import PredictSettings, predict_file
from eat.deployment.prediction import torch_engine
from eat.exits.points import OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.engines import in_torch
from eat.models.fingerprint import model_fingerprint
from eat.models.granted import with_digest
from eat.monitoring import DriftGuard
from eat.runs.engines import EngineState
from eat.runs.finished import FinishedRun
from eat.traces.profile import Profile, measure
from tests.deployment.predictions import alone, make_texts, one_line, read_rows, write_rows

TEXTS = make_texts(60)
QUIET = {"progress": False}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "in.txt", [{"text": text} for text in TEXTS])


@pytest.mark.parametrize("int8", [False, True])
def test_an_export_is_recognised_and_answers_as_it_does_elsewhere(
    run: Path, source: Path, tmp_path: Path, int8: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from eat.deployment import OnnxClassifier, export_onnx

    export_onnx(run / "model", run / "model", served := tmp_path / "served", int8=int8, **{"bits": 7} if int8 else {})
    predict_file(served, source, tmp_path / "out.jsonl", PredictSettings(**QUIET))
    rows = read_rows(tmp_path / "out.jsonl")
    for row, answer in zip(rows, OnnxClassifier.from_folder(served).predict(TEXTS), strict=True):
        assert (row["label"], row["exit_depth"]) == (answer.label, answer.exit_depth)
        assert row["score"] == pytest.approx(answer.score, abs=1e-5)
        assert row["retention"] == pytest.approx(answer.tokens_kept / answer.tokens)
    if not int8:
        assert [row["score"] for row in rows] == pytest.approx([score for _, score, *_ in alone(run, TEXTS)], abs=1e-4)
    predict_file(served, source, tmp_path / "never.jsonl", PredictSettings(**QUIET, exit={"name": "never"}))
    assert {row["exit_depth"] for row in read_rows(tmp_path / "never.jsonl")} == {4}
    with one_line(r"engine: expected onnx.*, as .*served was exported, got torch"):
        predict_file(served, source, tmp_path / "no.jsonl", PredictSettings(**QUIET, engine="torch"))
    with monkeypatch.context() as patch, one_line(r"onnxruntime is not installed: pip install"):
        patch.setitem(sys.modules, "onnxruntime", None)
        predict_file(served, source, tmp_path / "no.jsonl", PredictSettings(**QUIET))
    next(served.glob("segment_*")).unlink()
    with one_line(r"is missing, though eat_onnx.json names it"):
        predict_file(served, source, tmp_path / "no.jsonl", PredictSettings(**QUIET))
    assert not list(tmp_path.glob("no.jsonl*"))


def test_a_model_says_how_it_is_exported(run: Path, source: Path, tmp_path: Path) -> None:
    with one_line(rf"`eat export run={run} output=served format=onnx_int8` exports it"):
        predict_file(run, source, tmp_path / "no.jsonl", PredictSettings(**QUIET, engine="onnx_int8"))


@pytest.mark.parametrize("engine", ["int8", "bf16"])
def test_other_weights_are_the_quantised_models(
    run: Path,
    source: Path,
    tmp_path: Path,
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = PredictSettings(**QUIET, engine=engine, exit={"threshold": 0.7243})
    monkeypatch.setattr("eat.models.classifier.why_not", lambda _: None)
    predict_file(run, source, tmp_path / "out.jsonl", settings)
    model = AdaptiveForSequenceClassification.from_pretrained(run / "model").quantize(engine, anyway=True)
    tokenizer = read_tokenizer(run / "model", "")
    for row, text in zip(read_rows(tmp_path / "out.jsonl"), TEXTS, strict=True):
        inputs = tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            expected = model(inputs["input_ids"], token_type_ids=inputs["token_type_ids"])
        assert row["exit_depth"] == int(expected.exit_depth)
        assert row["score"] == pytest.approx(
            float(expected.logits.softmax(1).max()), abs=1e-6 if engine == "int8" else 1e-3
        )
    monkeypatch.setattr("eat.models.classifier.why_not", lambda _: "it is no faster")
    predict_file(run, source, tmp_path / "float.jsonl", settings)
    assert "the model stays in float32" in caplog.text


def test_other_weights_of_a_run_leave_where_it_certified_them_to(
    run: Path, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    kept, engine = FinishedRun(copied), in_torch("eat_int8")
    state = EngineState(kept.raw_fingerprint(engine), (1.0, 2.0, 1.5, 1.0), None)
    state.write(copied, engine)
    model, _ = kept.model_of(engine, certified=False)
    exit = OperatingPoint.of({"name": "confidence", "threshold": 0.7243}).spec
    facts = {"exit": exit, "bound": 0.01, "model": engine.model_fingerprint(model)} | engine.facts
    dataclasses.replace(state, certificate=with_digest(facts)).write(copied, engine)
    predict_file(copied, source, tmp_path / "out.jsonl", PredictSettings(**QUIET, engine="int8"))
    model.set_exit(**exit)
    tokenizer = read_tokenizer(run / "model", "")
    depths = []
    for text in TEXTS:
        inputs = tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            depths.append(int(model(inputs["input_ids"], token_type_ids=inputs["token_type_ids"]).exit_depth))
    assert [row["exit_depth"] for row in read_rows(tmp_path / "out.jsonl")] == depths
    assert len(set(depths)) > 1
    assert "certificate" not in caplog.text


@pytest.fixture
def certified(run: Path, tmp_path: Path) -> Path:
    """A model that was certified on the texts of these tests, in the order of the input."""
    model = AdaptiveForSequenceClassification.from_pretrained(run / "model").eval()
    tokenizer = read_tokenizer(run / "model", "")
    template = template_of(tokenizer, 1)
    values = []
    for text in make_texts(400):
        ids = template.ids([tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.inference_mode():
            output = model(torch.tensor([ids]))
        values.append(measure(output.logits.numpy(), output.exit_depth.numpy(), output.tokens_kept.numpy()))
    profile = Profile.of(np.concatenate(values, axis=1)).to_dict()
    exit = dict(model.config.exit or {})
    model.config.certificate = {"exit": exit, "model": model_fingerprint(model), "profile": profile}
    model.save_pretrained(tmp_path / "certified")
    tokenizer.save_pretrained(tmp_path / "certified")
    return tmp_path / "certified"


def watched(model: Path, source: Path, target: Path, **settings: Any) -> Any:
    options = PredictSettings(**QUIET | {"guard": True, "window": 200} | settings)
    return predict_file(model, source, target, options, make_guard=DriftGuard)


def test_the_guard_sees_the_input_in_its_order_and_is_quiet_while_nothing_drifts(
    certified: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generator = torch.Generator().manual_seed(0)
    texts = make_texts(400)
    rows = [{"text": texts[i]} for i in torch.randperm(400, generator=generator).tolist()]
    source = write_rows(tmp_path / "alike.txt", rows)
    summary = watched(certified, source, tmp_path / "out.jsonl")
    # In batches by length the answers come sorted, which the same guard would take for drift.
    assert summary.drifted is False and "no alarm" in str(summary) and "no longer looks like" not in caplog.text


def test_behind_an_alarm_rows_are_answered_at_full_depth(
    certified: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    texts = [f"good film {'very ' * 60}{i % 300}" for i in range(500)]  # of which the cache remembers some
    source = write_rows(tmp_path / "drifted.txt", [{"text": text} for text in texts])
    summary = watched(certified, source, tmp_path / "out.jsonl", cache=1000)
    depths = [row["exit_depth"] for row in read_rows(tmp_path / "out.jsonl")]
    assert summary.drifted is True and "ALARM" in str(summary) and "no longer looks like" in caplog.text
    alarm = next(i for i, depth in enumerate(depths) if depths[i:] == [4] * (500 - i))
    assert 0 < alarm < 300 and set(depths[:alarm]) != {4}


def test_a_guard_goes_on_with_its_test_after_a_stop(certified: Path, tmp_path: Path, monkeypatch: Any) -> None:
    texts = [f"good film {'very ' * 60}{i}" for i in range(200)]
    source = write_rows(tmp_path / "drifted.txt", [{"text": text} for text in texts])
    watched(certified, source, tmp_path / "whole.jsonl", window=20)
    append, count = torch_engine.TorchEngine.run_encoded, [0]

    def stopping(self: Any, batch: Any) -> Any:
        count[0] += 1
        if count[0] == 3:
            raise KeyboardInterrupt
        return append(self, batch)

    monkeypatch.setattr(torch_engine.TorchEngine, "run_encoded", stopping)
    with pytest.raises(KeyboardInterrupt):
        watched(certified, source, tmp_path / "stopped.jsonl", window=20)
    state = json.loads(next((tmp_path / "stopped.jsonl.parts").glob("state-*")).read_text())
    assert state["guard"]["watches"]["default"]["test"]
    watched(certified, source, tmp_path / "stopped.jsonl", window=20)
    assert (tmp_path / "stopped.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_certified_model_answers_at_its_point_and_another_one_is_said(
    certified: Path, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predict_file(certified, source, tmp_path / "out.jsonl", PredictSettings(**QUIET))
    assert not caplog.text and len({row["exit_depth"] for row in read_rows(tmp_path / "out.jsonl")}) > 1
    predict_file(certified, source, tmp_path / "other.jsonl", PredictSettings(**QUIET, exit={"threshold": 0.5}))
    assert "certificate is about another operating point" in caplog.text
    with one_line(r"make_guard: expected what makes one"):
        predict_file(certified, source, tmp_path / "no.jsonl", PredictSettings(**QUIET, guard=True))
