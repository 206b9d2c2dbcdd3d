"""Peak memory: another process builds the contender from files, answers, and says what it took."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from eat.benchmark.contenders import ALL_OFF, PADDED, build_contenders
from eat.benchmark.engines import ENGINES, Saved, Source, call_saved
from eat.benchmark.engines.packed import packed_call
from eat.benchmark.memory import Peak, answer_and_measure, measure_peak
from eat.exits.points import OperatingPoint
from tests.made.models import make_model

EXIT = {"name": "confidence", "threshold": 0.7}
EXPORTED = [name for name, engine in ENGINES.items() if engine.exported]
BATCHES = [[{"input_ids": [1, 2, 3, 4, 5, 6]}, {"input_ids": [7, 8]}]]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Saved]:
    folder = tmp_path_factory.mktemp("saved")
    source = Source(make_model(torch.float32))
    contenders = build_contenders(source, [OperatingPoint.of(EXIT)], folder=folder, absent=EXPORTED)
    assert all(contender.saved is not None for contender in contenders)
    return {contender.name: contender.saved for contender in contenders if contender.saved}


def test_what_is_saved_answers_as_the_contender(saved: dict[str, Saved]) -> None:
    contenders = {c.name: c for c in build_contenders(Source(make_model(torch.float32)), [OperatingPoint.of(EXIT)])}
    with torch.inference_mode():
        for name, one in saved.items():
            np.testing.assert_allclose(call_saved(one)(BATCHES[0]), contenders[name].call(BATCHES[0]), atol=1e-5)


def test_a_contender_of_ours_in_a_process_of_its_own(saved: dict[str, Saved]) -> None:
    peak = measure_peak(ALL_OFF, saved[ALL_OFF], BATCHES)
    assert peak.peak_mib >= peak.libraries_mib > 50
    assert 0 <= peak.over_loaded_mib < peak.peak_mib


def test_what_answering_took_is_beyond_what_was_loaded(
    saved: dict[str, Saved], monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = iter([100.0, 120.0, 150.0])  # libraries, loaded, at most
    monkeypatch.setattr("eat.benchmark.memory._resident", lambda field: next(readings))
    monkeypatch.setattr("eat.benchmark.memory._forget_peak", lambda: None)
    assert answer_and_measure(saved[PADDED], BATCHES, torch.get_num_threads()) == Peak(150.0, 30.0, 100.0)


def test_a_process_that_dies_is_named_with_its_last_words(saved: dict[str, Saved], tmp_path: Path) -> None:
    broken = Saved(engine="eat", path=str(tmp_path))
    with pytest.raises(RuntimeError, match=r"memory of ours: its process ended with code 1:\n[\s\S]*safetensors"):
        measure_peak("ours", broken, BATCHES)
    with pytest.raises(RuntimeError, match=r"memory of ours: no answer within 0.01 s"):
        measure_peak("ours", saved[ALL_OFF], BATCHES, timeout=0.01)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"engine: expected one of .*'eat'.* got 'tvm'"):
        call_saved(Saved(engine="tvm", path="x"))
    with pytest.raises(ValueError, match=r"parts: expected some of .*'exit'.* got \['exits'\]"):
        call_saved(Saved(engine="eat", path="x", parts={"exits": {}}))


def test_parts_are_what_was_asked_for(saved: dict[str, Saved], tmp_path: Path) -> None:
    model = make_model(torch.float32)
    model.set_exit(**EXIT)
    with torch.inference_mode():
        expected = packed_call(model)(BATCHES[0])
        np.testing.assert_allclose(call_saved(saved["confidence threshold=0.7"])(BATCHES[0]), expected, atol=1e-6)


def test_a_process_that_measures_holds_no_more_than_its_engine_needs() -> None:
    code = "import sys, eat.benchmark.memory; print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    unneeded = {"datasets", "hydra", "lightning", "matplotlib", "omegaconf", "onnx", "onnxruntime", "torchmetrics"}
    unneeded |= {"ctranslate2", "nncf", "openvino"}
    unneeded |= {"eat.data", "eat.evaluation", "eat.runs", "eat.traces", "eat.training"}
    assert unneeded.isdisjoint(done.stdout.split())
