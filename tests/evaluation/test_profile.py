"""Where a run spends its time: every operator's own, and what is left."""

import json
from pathlib import Path

import pytest

from eat.benchmark.profile import PROFILE, REST, profile
from eat.evaluation.profile import ProfileSettings, profile_runs
from eat.results.profile import write_profiles

FEW = ProfileSettings(texts=5, batch_size=2, passes=2)


def test_each_library_names_its_operators(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    candidates = {"torch": run, "segments": {"run": run, "engine": "eat_onnx", "exit": {"name": "never"}}}
    profiled = profile_runs(candidates, FEW)
    rows = {name: [row for row in profiled.rows if row["name"] == name] for name in candidates}
    names = {name: {row["operator"] for row in of} for name, of in rows.items()}
    assert {"Attention", "Gemm", "LayerNormalization"} <= names["segments"] and "If" not in names["segments"]
    assert "aten::native_layer_norm" in names["torch"]
    for of in rows.values():
        assert sum(row["share"] for row in of) == pytest.approx(1)
        assert of[-1]["operator"] == REST
        times = [row["us_per_text"] for row in of[:-1]]
        assert times == sorted(times, reverse=True)
    (calls,) = (row["calls_per_text"] for row in rows["segments"] if row["operator"] == "Attention")
    assert calls == pytest.approx(profiled_layers(run) * 3 / 5)  # three batches of five texts, each one group

    page = write_profiles(profiled, tmp_path)
    assert "## segments" in page and REST in page
    assert len(PROFILE.read(tmp_path / "profile.csv")) == len(profiled.rows)
    facts = json.loads((tmp_path / "profile.json").read_text())
    assert facts["candidates"]["segments"]["texts"] == 5 and facts["candidates"]["torch"]["us_per_text"] > 0
    assert (tmp_path / "profile.md").read_text() == page


def profiled_layers(run: Path) -> int:
    layers = json.loads((run / "model" / "config.json").read_text())["backbone"]["num_layers"]
    assert isinstance(layers, int)
    return layers


def test_what_cannot_be_profiled_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"^candidates: expected some by name"):
        profile_runs({})
    with pytest.raises(ValueError, match=r"^split: expected one of .*, got 'dev'"):
        profile_runs({"a": run}, ProfileSettings(split="dev"))
    monkeypatch.setattr("eat.benchmark.engines.openvino.OpenVino.cannot_trace", lambda *_: None)
    with pytest.raises(
        ValueError, match=r"^candidates\.a\.engine: expected one whose operators .* got 'openvino_fp32'"
    ):
        profile_runs({"a": {"run": run, "engine": "openvino_fp32"}})
    with pytest.raises(ValueError, match=r"^batches: expected some texts, got none"):
        profile(lambda: lambda _: 0, [], "torch")


@pytest.mark.parametrize("name", ["texts", "batch_size", "passes", "threads"])
def test_settings_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, got 0"):
        ProfileSettings(**{name: 0})
