"""ONNX Runtime answers as the model that was exported, whatever the batch, with the threads of the measurement."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eat.backbones.tiny import tiny_config
from eat.benchmark.engines import ENGINES, Call, Source, call_saved
from eat.benchmark.engines.hugging_face import hugging_face_call
from eat.benchmark.engines.packed import packed_call
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.sharing import all_off
from tests.made.models import make_model

ONNX_FP32, ONNX_INT8 = "onnxruntime_fp32", "onnxruntime_int8"

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def make_examples(lengths: list[int], *, token_types: bool = True) -> list[dict[str, list[int]]]:
    generator = np.random.default_rng(0)
    examples = [{"input_ids": generator.integers(5, 128, size=n).tolist()} for n in lengths]
    return [
        example | ({"token_type_ids": [0] * n} if token_types else {})
        for example, n in zip(examples, lengths, strict=True)
    ]


@pytest.fixture(scope="module", params=["mean", pytest.param("cls", marks=pytest.mark.slow)])
def calls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Call]:
    model = make_model(torch.float32, head_pooling=request.param)
    folder = tmp_path_factory.mktemp("onnx")
    source = Source(model)
    theirs = hugging_face_call(model.to_hugging_face(), model.backbone.pad_token_id)
    return {
        "theirs": theirs,
        "ours": packed_call(all_off(model)),
        **{name: call_saved(ENGINES[name].save(source, folder, name)) for name in (ONNX_FP32, ONNX_INT8)},
    }


@pytest.mark.parametrize("lengths", [[1], [9], [2, 30, 5], [128, 3], [7] * 33], ids=str)
def test_float32_answers_like_hugging_face(calls: dict[str, Call], lengths: list[int]) -> None:
    batch = make_examples(lengths)
    with torch.inference_mode():
        expected = calls["theirs"](batch)
        np.testing.assert_allclose(calls["ours"](batch), expected, atol=1e-4)
    np.testing.assert_allclose(calls[ONNX_FP32](batch), expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("model_type", ["distilbert", "electra", "roberta", "albert", "mpnet"])
def test_other_encoders_are_exported_too(model_type: str, pooling: str, tmp_path: Path) -> None:
    config = tiny_config(model_type)
    model = AdaptiveForSequenceClassification.from_backbone(config, num_labels=3, head_pooling=pooling, seed=0)
    pad, token_types = model.backbone.pad_token_id, model.backbone.num_types > 1
    batch = make_examples([4, 30, 9], token_types=token_types)
    with torch.inference_mode():
        expected = hugging_face_call(model.to_hugging_face(), pad)(batch)
    saved = ENGINES[ONNX_FP32].save(Source(model, token_types=token_types), tmp_path, ONNX_FP32)
    np.testing.assert_allclose(call_saved(saved)(batch), expected, atol=1e-4)


def test_what_is_exported_but_does_not_run_is_left_out_with_the_reason() -> None:
    model = AdaptiveForSequenceClassification.from_backbone(tiny_config("modernbert"), num_labels=2, seed=0)
    said = {name: ENGINES[name].cannot(Source(model)) for name in (ONNX_FP32, "eat_onnx", "openvino_fp32")}
    assert said == {
        ONNX_FP32: "torch exports its rotary positions for one sequence at a time, and batches then fail",
        "eat_onnx": "rotary positions, norms before the branches and gated feed-forwards have no graph",
        "openvino_fp32": "converted, it answers padded batches with NaN",
    }


def test_int8_mostly_predicts_the_same_and_is_another_graph(calls: dict[str, Call]) -> None:
    batch = make_examples([3 + i % 20 for i in range(64)])
    exact, rounded = calls[ONNX_FP32](batch), calls[ONNX_INT8](batch)
    assert not np.allclose(exact, rounded, atol=1e-5)
    clear = np.abs(exact[:, 0] - exact[:, 1]) > np.median(np.abs(exact[:, 0] - exact[:, 1]))
    assert (exact.argmax(axis=1) == rounded.argmax(axis=1))[clear].mean() > 0.9


def test_a_session_has_the_threads_of_the_measurement(calls: dict[str, Call], monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    opened: list[tuple[int, int, bool]] = []
    original = onnxruntime.InferenceSession

    def spy(path: Path, options: Any, **more: Any) -> Any:
        sequential = options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        opened.append((options.intra_op_num_threads, options.inter_op_num_threads, sequential))
        return original(path, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    threads = 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    batch, call = make_examples([4]), calls[ONNX_FP32]
    call(batch)
    threads = 2
    call(batch)
    call(batch)
    assert opened[-1] == (2, 1, True)
    assert [one[0] for one in opened].count(2) == 1


def test_it_is_said_why_it_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    why_not = ENGINES[ONNX_INT8].why_not
    assert why_not(torch.device("cpu")) is None
    assert why_not(torch.device("cuda")) == "measured on a CPU only, and this is cuda"
    monkeypatch.setattr("eat.benchmark.engines.engine.find_spec", lambda name: None if name == "onnxscript" else name)
    assert (
        ENGINES[ONNX_INT8].why_not(torch.device("cpu"))
        == "not installed: onnxscript (pip install 'eat-transformers[onnx]')"
    )
