"""Ranges that are measured beforehand, and the product that takes them, against slow references."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eat.deployment import OnnxClassifier, export_onnx
from eat.deployment.activations import TAIL, Activation, measure_activations
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.inputs import Inputs
from eat.modules.block import Block
from tests.made.models import make_model

onnxruntime = pytest.importorskip("onnxruntime")
from eat.deployment.graph import Graph  # noqa: E402  # needs onnx

RNG = np.random.default_rng(0)
TEXTS = [{"input_ids": RNG.integers(2, 100, length).tolist()} for length in (5, 9, 3, 12, 7)]


def blocks(model: AdaptiveForSequenceClassification) -> list[Block]:
    return [block for block in model.encoder.blocks if isinstance(block, Block)]


def test_ranges_are_those_of_what_comes_in_at_full_depth() -> None:
    model = make_model(torch.float32, exit={"name": "confidence", "threshold": 0.0}).train()
    found = measure_activations(model, TEXTS)
    assert model.training  # as it was
    assert len(found) == 4 * model.num_layers  # though every text would exit at the first head
    ids = torch.tensor([token for text in TEXTS for token in text["input_ids"]])
    model.eval()
    with torch.inference_mode():
        lengths = torch.tensor([len(text["input_ids"]) for text in TEXTS])
        rows = model.embedded(Inputs(ids, None, None, lengths)).rows.numpy()
    first = found[blocks(model)[0].qkv]
    assert first.channels is not None
    np.testing.assert_allclose(first.channels, np.abs(rows).max(0), rtol=6e-3)
    np.testing.assert_allclose([first.low, first.high], np.quantile(rows, [TAIL, 1 - TAIL]), rtol=6e-3)
    assert all(found[block.inner].channels is not None for block in blocks(model))
    assert all(found[block.outer].channels is None for block in blocks(model))
    with pytest.raises(ValueError, match=r"^calibration: expected some training rows, .* got none$"):
        measure_activations(model, [])


def test_smoothing_is_smooth_quants() -> None:
    weight = np.array([[1.0, -0.25], [0.5, 0.01]], dtype=np.float32)
    activation = Activation(-9.0, 9.0, np.array([16.0, 1.0], dtype=np.float32))
    smoothing = activation.smoothing(weight)
    factors = np.array([16**0.5 / 1**0.5, 1**0.5 / 0.25**0.5])
    assert smoothing == pytest.approx(factors / np.sqrt(factors.prod()))
    largest = (activation.channels / smoothing).max()
    assert activation.range(smoothing) == pytest.approx((-largest, largest))
    plain = Activation(0.5, 9.0, None)
    assert plain.smoothing(weight) is None
    assert plain.range(None) == (0.0, 9.0)  # holds 0


@pytest.mark.parametrize("bits", [7, 8])
@pytest.mark.parametrize("smoothed", [False, True])
def test_a_static_product_is_that_of_the_integers(bits: int, smoothed: bool) -> None:
    weight = RNG.normal(size=(16, 32)).astype(np.float32)
    bias = RNG.normal(size=16).astype(np.float32)
    rows = RNG.normal(size=(7, 32)).astype(np.float32)
    rows[:, 3] *= 20
    channels = np.abs(rows).max(0) if smoothed else None
    activation = Activation(-1.5, 2.5, channels)  # what is beyond is cut off where nothing is smoothed
    graph = Graph(bits)
    given = graph.given("rows", "FLOAT", ["tokens", 32])
    model = graph.model([graph.dense(given, "layer", weight, bias, activation=activation)])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"rows": rows})

    smoothing = activation.smoothing(weight)
    divided = rows if smoothing is None else rows * (1 / smoothing)
    scaled = weight if smoothing is None else weight * smoothing
    low, high = activation.range(smoothing)
    steps = 2**bits - 1
    step = (high - low) / steps
    zero = round(-low / step)
    integers = np.clip(np.rint(divided.astype(np.float64) / step) + zero, 0, steps)
    scale = np.abs(scaled).max(1) / 127
    expected = (integers - zero) @ np.rint(scaled / scale[:, None]).T * step * scale + bias
    # A number between two steps may be rounded either way.
    np.testing.assert_allclose(got, expected, atol=2 * step * scale.max() * 127)
    assert np.median(np.abs(got - expected)) < 1e-4
    if smoothed:
        exact = rows @ weight.T + bias
        assert np.abs(got - exact).max() < 0.05 * np.abs(exact).max()


def test_answers_do_not_depend_on_the_batch(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("eat.deployment.runner.cpu_facts", lambda: "avx512_vnni")
    model = make_model(torch.float32, exit={"name": "never"})
    folder = export_onnx(model, None, tmp_path / "static", int8=True, bits=7, calibration=TEXTS)
    served = OnnxClassifier.from_folder(folder)
    ids = RNG.integers(2, 100, 6 * 9)
    together = served.run(ids, [9] * 6).logits
    alone = np.concatenate([served.run(ids[start : start + 9], [9]).logits for start in range(0, 54, 9)])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    with pytest.raises(ValueError, match=r"^calibration: expected none without int8"):
        export_onnx(model, None, tmp_path / "other", calibration=TEXTS)
    assert not (tmp_path / "other").exists()
