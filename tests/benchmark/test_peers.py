"""OpenVINO and CTranslate2 answer as the model that was converted, on as many threads as wanted, or say why not."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eat.backbones.tiny import tiny_config
from eat.benchmark.contenders import Contender
from eat.benchmark.engines import ENGINES, PADDED, Call, Source, call_saved, cannot_run, ctranslate2, not_measured
from eat.benchmark.engines.packed import packed_call
from eat.benchmark.run import answer_whole
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.sharing import all_off
from eat.testing.engines import answers_elsewhere
from tests.made.models import make_model

CPU = torch.device("cpu")
OPENVINO, OPENVINO_BF16, OPENVINO_INT8 = "openvino_fp32", "openvino_bf16", "openvino_int8"
CTRANSLATE2, CTRANSLATE2_INT8 = "ctranslate2_fp32", "ctranslate2_int8"
PEERS = (OPENVINO, OPENVINO_BF16, OPENVINO_INT8, CTRANSLATE2, CTRANSLATE2_INT8)


def make_examples(lengths: list[int], *, token_types: bool = True) -> list[dict[str, list[int]]]:
    generator = np.random.default_rng(0)
    rows = [{"input_ids": generator.integers(5, 128, size=n).tolist()} for n in lengths]
    return [row | ({"token_type_ids": [0] * n} if token_types else {}) for row, n in zip(rows, lengths, strict=True)]


def reason(name: str) -> str | None:
    return ENGINES[name].why_not(CPU)


@pytest.fixture(scope="module", params=["mean", "cls"])
def calls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Call]:
    """Build each float32 engine that is installed, for a model whose heads read one or the other."""
    model = make_model(torch.float32, head_pooling=request.param)
    folder, source = tmp_path_factory.mktemp("peers"), Source(model)
    names = [name for name in (OPENVINO, CTRANSLATE2, CTRANSLATE2_INT8) if reason(name) is None]
    return {
        "ours": packed_call(all_off(model)),
        **{name: call_saved(ENGINES[name].save(source, folder, name)) for name in names},
    }


@pytest.mark.parametrize("name", [OPENVINO, CTRANSLATE2])
@pytest.mark.parametrize("lengths", [[1], [9], [2, 30, 5], [128, 3], [7] * 33], ids=str)
def test_float32_answers_as_ours_with_everything_off(calls: dict[str, Call], name: str, lengths: list[int]) -> None:
    if name not in calls:
        pytest.skip(str(reason(name)))
    batch = make_examples(lengths)
    with torch.inference_mode():
        np.testing.assert_allclose(calls[name](batch), calls["ours"](batch), atol=1e-4)


def test_bfloat16_answers_nearly_so(tmp_path: Path) -> None:
    if reason(OPENVINO_BF16) is not None:
        pytest.skip(str(reason(OPENVINO_BF16)))
    model, batch, engine = make_model(torch.float32), make_examples([2, 30, 5]), ENGINES[OPENVINO_BF16]
    with torch.inference_mode():
        expected = packed_call(all_off(model))(batch)
    # In another process: what it leaves in AMX's registers makes a later signal in this one end in a crash.
    (answers,) = answers_elsewhere(engine, engine.save(Source(model), tmp_path, OPENVINO_BF16), [batch])
    assert 1e-5 < np.abs(answers - expected).max() < 0.03 * np.abs(expected).max()


def test_hugging_face_in_bfloat16_is_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = make_model(torch.float32), make_examples([2, 30, 5])
    saved = ENGINES["huggingface_bf16"].save(Source(model), tmp_path, "huggingface_bf16")
    with torch.inference_mode():
        expected = packed_call(all_off(model))(batch)
        for call in (call_saved(saved), ENGINES["huggingface_bf16"].call(Source(model))):
            assert 1e-5 < np.abs(call(batch) - expected).max() < 0.05 * np.abs(expected).max()
    assert next(model.parameters()).dtype is torch.float32
    monkeypatch.setattr("eat.benchmark.engines.hugging_face.why_not", lambda _: "bf16 is no faster")
    assert reason("huggingface_bf16") == "bf16 is no faster"


def test_an_int8_answer_of_ctranslate2_depends_on_no_other_row(calls: dict[str, Call]) -> None:
    if CTRANSLATE2_INT8 not in calls:
        pytest.skip(str(reason(CTRANSLATE2_INT8)))
    batch = make_examples([3 + i % 20 for i in range(32)])
    with torch.inference_mode():
        together, expected = calls[CTRANSLATE2_INT8](batch), calls["ours"](batch)
        alone = np.concatenate([calls[CTRANSLATE2_INT8]([example]) for example in batch])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert 1e-5 < np.abs(together - expected).max() < 0.1


@pytest.mark.parametrize("name", [OPENVINO, CTRANSLATE2])
def test_one_thread_is_one_thread(calls: dict[str, Call], name: str) -> None:
    if name not in calls:
        pytest.skip(str(reason(name)))
    batch = make_examples([60] * 64)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        calls[name](batch)
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(20):
            calls[name](batch)
        assert time.process_time() - cpu <= 1.2 * (time.perf_counter() - wall)
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["distilbert", "electra", "roberta", "albert", "modernbert", "mpnet"])
def test_other_encoders_are_converted_or_refused(model_type: str, tmp_path: Path) -> None:
    config = tiny_config(model_type)
    model = AdaptiveForSequenceClassification.from_backbone(config, num_labels=3, head_pooling="mean", seed=0)
    token_types = model.backbone.num_types > 1
    source = Source(model, token_types=token_types)
    batch = make_examples([4, 30, 9], token_types=token_types)
    for name in (OPENVINO, CTRANSLATE2):
        if reason(name) is None and ENGINES[name].cannot(source) is None:
            with torch.inference_mode():
                answers = call_saved(ENGINES[name].save(source, tmp_path, name))(batch)
                np.testing.assert_allclose(answers, packed_call(all_off(model))(batch), atol=1e-4)


def test_what_cannot_be_converted_is_left_out_with_the_reason(tmp_path: Path) -> None:
    electra = AdaptiveForSequenceClassification.from_backbone(tiny_config("electra"), num_labels=2, seed=0)
    others = [name for name in ENGINES if name not in PEERS]
    refused = "converted are bert and distilbert, and this is electra"
    assert cannot_run(Source(electra), others) == {
        OPENVINO_INT8: "static int8 needs training rows to measure its ranges on, and none were given",
        CTRANSLATE2: refused,
        CTRANSLATE2_INT8: refused,
    }
    assert cannot_run(Source(electra, calibration=make_examples([3])), [*others, CTRANSLATE2, CTRANSLATE2_INT8]) == {}
    with pytest.raises(ValueError, match=f"{CTRANSLATE2}: {refused}"):
        ENGINES[CTRANSLATE2].save(Source(electra), tmp_path, CTRANSLATE2)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Able:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    installed = {"openvino", "onnx"}
    monkeypatch.setattr("eat.benchmark.engines.engine.find_spec", lambda name: name if name in installed else None)
    monkeypatch.setattr("eat.benchmark.engines.openvino._core", Able)  # said to be installed, and perhaps is not
    reasons = not_measured(CPU)
    hint = "(pip install 'eat-transformers[peers]')"
    assert OPENVINO not in reasons and PADDED not in reasons
    assert reasons[OPENVINO_BF16] == "this processor cannot do bfloat16 in OpenVINO, only FP32, INT8"
    assert reasons[OPENVINO_INT8] == f"not installed: nncf {hint}"
    assert reasons[CTRANSLATE2] == reasons[CTRANSLATE2_INT8] == f"not installed: ctranslate2 {hint}"
    assert not_measured(torch.device("cuda"))[OPENVINO] == "measured on a CPU only, and this is cuda"


def test_what_the_processor_cannot_do_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        def get_supported_compute_types(self, device: str) -> set[str]:
            return {"float32"}

        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32"]

    monkeypatch.setattr("eat.benchmark.engines.engine.find_spec", lambda name: name)
    monkeypatch.setattr("eat.benchmark.engines.ctranslate2._ctranslate2", Old)
    monkeypatch.setattr("eat.benchmark.engines.openvino._core", Old)
    assert [reason(name) for name in PEERS] == [
        None,
        "this processor cannot do bfloat16 in OpenVINO, only FP32",
        "this processor cannot do int8 in OpenVINO, only FP32",
        None,
        "this processor cannot do int8 in CTranslate2; it does float32",
    ]


def test_inexact_engines_alone_answer_the_whole_split() -> None:
    asked: list[int] = []

    def call(batch: Any) -> Any:
        asked.append(len(batch))
        return np.zeros((len(batch), 2), dtype=np.float32)

    contenders = [Contender(name, name, call) for name in (PADDED, OPENVINO, CTRANSLATE2_INT8)]
    answers = answer_whole(contenders, make_examples([4] * 7), batch_size=4)
    assert {name: logits.shape for name, logits in answers.items()} == {CTRANSLATE2_INT8: (7, 2)}
    assert asked == [4, 3]


def test_no_usage_data_is_sent() -> None:
    pytest.importorskip("openvino")
    from eat.benchmark.engines.openvino import _core

    _core()
    assert "openvino_telemetry" not in sys.modules


@pytest.mark.skipif(not hasattr(os, "RTLD_DEEPBIND"), reason="only glibc lets a library prefer its own copies")
def test_ctranslate2_is_loaded_with_its_own_openmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ctranslate2.py").write_text("import sys\n\nFLAGS = sys.getdlopenflags()\n")
    monkeypatch.syspath_prepend(tmp_path)
    kept, before = sys.modules.pop("ctranslate2", None), sys.getdlopenflags()
    try:
        flags = ctranslate2._ctranslate2().FLAGS
    finally:
        del sys.modules["ctranslate2"]
        if kept is not None:
            sys.modules["ctranslate2"] = kept
    assert (flags, sys.getdlopenflags()) == (before | os.RTLD_DEEPBIND, before)
