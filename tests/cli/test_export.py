"""The script: a certified run is exported with the certificate of what will serve it, or not at all."""

import re
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from eat.cli import export
from eat.cli.compose import CONF
from eat.deployment import OnnxClassifier
from eat.evaluation import evaluate_run
from eat.models.rules import SufficientRule
from eat.runs.finished import FinishedRun
from tests.made.runs import write_run

BUDGET = {"max_drop": 0.6, "confidence": 0.8}


def run_script(*overrides: str) -> Any:
    with initialize_config_dir(CONF, version_base="1.3"):
        return export.main.__wrapped__(compose("export", overrides=list(overrides)))


@pytest.mark.parametrize("format", ["onnx_int8", "onnx_static"])
def test_the_export_carries_the_certificate_of_its_engine(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eat.evaluation.report.section.draw", lambda *_: None)
    run, output = write_run(tmp_path / "small"), tmp_path / "served"
    typed = [f"run={run}", f"output={output}", f"format={format}"]
    assert OnnxClassifier.from_folder(run_script(*typed)).manifest.certificate is None, "there was none to carry"
    (output / "eat_onnx.json").unlink()
    evaluate_run(run, stages=["certify"], certify=BUDGET)
    command = rf"engine=eat_{format} stages=\[certify\] certify.max_drop=0.6`, or do without \(certified=false\)"
    with pytest.raises(ValueError, match=command):
        run_script(*typed)
    assert not (output / "eat_onnx.json").exists(), "nothing is written"
    assert OnnxClassifier.from_folder(run_script(*typed, "certified=false")).manifest.certificate is None
    evaluate_run(run, engine=f"eat_{format}", stages=["certify"], certify=BUDGET)
    there = (output / "eat_onnx.json").read_bytes()
    with pytest.raises(ValueError, match=r"output: .*served holds an export already; fresh=true replaces it"):
        run_script(*typed)
    assert (output / "eat_onnx.json").read_bytes() == there
    served = OnnxClassifier.from_folder(run_script(*typed, "fresh=true"))
    certificate = served.manifest.certificate
    assert certificate is not None and certificate["engine"] == f"eat_{format}"
    assert served.manifest.exit == certificate["exit"]
    assert served.predict(["good film", "awful soup"])[0].tokens > 0
    other = 15 - certificate["bits"]
    with pytest.raises(ValueError, match=f"has a certificate of eat_{format}, which no longer holds"):
        run_script(*typed, f"bits={other}", "fresh=true")


def test_it_says_how_far_the_export_agrees_with_torch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    run = write_run(tmp_path / "small")
    run_script(f"run={run}", f"output={tmp_path / 'a'}", "compare=20")
    assert "beside torch: 20 of 20 texts are answered alike in batches of 1 and 32; logits" in capsys.readouterr().out
    run_script(f"run={run}", f"output={tmp_path / 'b'}", "compare=20", "format=onnx_int8")
    assert re.search(r"beside torch in float32: \d+ of 20 texts are", capsys.readouterr().out)
    run_script(f"run={run}", f"output={tmp_path / 'c'}", "compare=0")
    assert "beside torch" not in capsys.readouterr().out and "not compared" not in caplog.text
    (run / "validation.csv").unlink()
    assert run_script(f"run={run}", f"output={tmp_path / 'd'}").is_dir(), "the export needs no data"
    assert "not compared with torch: " in caplog.text and "validation.csv" in caplog.text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("compare=-1", "compare: expected an integer of 0 or more, got -1"),
        ("format=int8", "format: expected one of .*'onnx', 'onnx_int8'"),
        ("bits=9", "bits: expected 7 or 8, with int8 alone, got 9"),
    ],
)
def test_bad_options_are_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_script(f"run={tmp_path}", f"output={tmp_path / 'served'}", override)


def test_rules_are_not_left_out_unasked(tmp_path: Path) -> None:
    run, output = write_run(tmp_path / "small"), tmp_path / "served"
    model = FinishedRun(run).load_model("cpu")
    weight = (1.0,) * model.backbone.dim
    model.set_rules([SufficientRule(0, "embeddings", "mean", 1, weight, 0.5, 0.01, 0.02)])
    model.save_pretrained(run / "model")
    with pytest.raises(ValueError, match=r"run: .* has sufficient rules, which cannot be exported; certified=false"):
        run_script(f"run={run}", f"output={output}")
    assert not output.exists()
    served = OnnxClassifier.from_folder(run_script(f"run={run}", f"output={output}", "certified=false"))
    assert served.predict(["good film"])[0].tokens > 0
