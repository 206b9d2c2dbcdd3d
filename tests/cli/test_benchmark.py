"""The script: what is typed reaches the suite, every part runs, and nothing that is recorded is lost or done twice."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from eat.benchmark.contenders import ALL_OFF, PADDED
from eat.benchmark.engines.ctranslate2 import CTranslate2
from eat.benchmark.engines.onnx import OnnxRuntime
from eat.benchmark.engines.openvino import OpenVino
from eat.benchmark.memory import Peak, measure_peak
from eat.cli import benchmark
from eat.cli.compose import CONF
from eat.suite import memory, run
from eat.suite.records import read_part
from eat.suite.settings import PART_NAMES

ONNX_FP32, ONNX_INT8 = "onnxruntime_fp32", "onnxruntime_int8"
WHY_NOT = OnnxRuntime.why_not
TINY = (
    *("shapes=[tiny]", "heavy_shapes=[tiny]", "threads=[1]", "device=cpu"),
    *("seconds=0.01", "curve_seconds=0.01", "rounds=2", "warmup=1", "examples=8", "training_steps=1"),
    *("memory_batches=[[2,16]]", "lengths=[48]"),
    *("curve_lengths=[16,32]", "curve_batch_sizes=[1,4]", "curve_tokens=64"),
)


def run_script(*overrides: str) -> Any:
    """Compose as the command line does and call the script's function without Hydra's wrapper."""
    with initialize_config_dir(CONF, version_base="1.3"):
        return benchmark.main.__wrapped__(compose("benchmark", overrides=list(overrides)))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Leave out what has tests of its own and takes long: exports, and a process for each peak."""
    with pytest.MonkeyPatch.context() as patch:
        for engine in (OnnxRuntime, OpenVino, CTranslate2):
            patch.setattr(engine, "why_not", lambda self, device: "left out of these tests")
        patch.setattr(memory, "measure_peak", lambda *_, **__: Peak(300.0, 20.0, 200.0))
        yield


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Measure every part once, tiny."""
    folder: Path = run_script(*TINY, f"folder={tmp_path_factory.mktemp('suite')}")
    return folder


@pytest.mark.parametrize("part", PART_NAMES)
def test_every_part_is_recorded(measured: Path, part: str) -> None:
    rows = read_part(measured / f"{part}.csv")
    assert rows
    assert {(row["part"], row["shape"], row["dtype"]) for row in rows} == {(part, "tiny", "float32")}
    assert {row["threads"] for row in rows if not row["not_measured"]} == {1}
    assert all(row["speedup"] or row["peak_mib"] or row["not_measured"] for row in rows)
    assert all(row["code"] and row["settings"] for row in rows)


def test_curves_leave_out_what_holds_too_many_tokens(measured: Path) -> None:
    rows = read_part(measured / "curves.csv")
    assert {(row["length"], row["batch_size"]) for row in rows} == {(16, 1), (32, 1), (16, 4)}


def test_who_could_not_be_measured_is_there_with_the_reason(measured: Path) -> None:
    for part in ("serving", "memory"):
        reasons = {row["contender"]: row["not_measured"] for row in read_part(measured / f"{part}.csv")}
        assert (reasons[ONNX_FP32], reasons[ONNX_INT8]) == ("left out of these tests",) * 2
        assert (reasons[PADDED], reasons[ALL_OFF]) == (None, None)
    assert "left out of these tests" in (measured / "summary.md").read_text()


def test_the_folder_names_the_machine_and_holds_its_environment(measured: Path) -> None:
    assert measured.name.startswith("cpu-")
    environment = json.loads((measured / "environment.json").read_text())
    assert environment["packages"]["torch"]
    assert environment["settings"]["rounds"] == 2
    assert {"targets.png", "curves.png", "summary.md"} <= {path.name for path in measured.iterdir()}


def test_summary_lists_what_was_measured_and_what_was_not(measured: Path) -> None:
    summary = (measured / "summary.md").read_text()
    assert "## Serving" in summary
    assert "not measured (not among the settings)" in summary  # the tiny shape has no figures to reach
    assert "Not measured here (no GPU was used), figures for CUDA" in summary


def test_what_is_recorded_is_not_measured_again(measured: Path) -> None:
    before = content(measured)
    run_script(*TINY, f"folder={measured.parent}")
    after = content(measured)
    assert {name: after[name] for name in after if name.endswith((".csv", ".json", ".md"))} == {
        name: before[name] for name in before if name.endswith((".csv", ".json", ".md"))
    }


def test_another_setting_or_fresh_measures_again(measured: Path) -> None:
    before = (measured / "depth.csv").read_bytes()
    run_script(*TINY, "parts=[depth]", f"folder={measured.parent}", "fresh=true")
    again = (measured / "depth.csv").read_bytes()
    assert again != before
    run_script(*TINY, "parts=[depth]", f"folder={measured.parent}", "seed=1")
    rows = read_part(measured / "depth.csv")
    assert rows[0]["settings"] not in again.decode()
    run_script(*TINY, "parts=[depth]", f"folder={measured.parent}")


def test_everything_is_drawn_again_from_the_csv_files(measured: Path) -> None:
    before = content(measured)
    for name in ("summary.md", "targets.png", "curves.png"):
        (measured / name).unlink()
    run_script(*TINY, "parts=[]", f"folder={measured.parent}")
    assert content(measured).keys() == before.keys()
    assert (measured / "summary.md").read_bytes() == before["summary.md"]


def test_a_part_that_fails_leaves_what_was_there(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(measured)

    def fail(*_: Any) -> Any:
        raise OSError("no space left")

    monkeypatch.setattr(run, "hold", fail)
    with pytest.raises(OSError, match="no space left"):
        run_script(*TINY, "parts=[serving]", "fresh=true", f"folder={measured.parent}")
    assert content(measured) == before


def test_nothing_recorded_is_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"parts: nothing is recorded in .*name some parts"):
        run_script(*TINY, "parts=[]", f"folder={tmp_path}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("parts=[servign]", r"parts: expected some of .* got 'servign' \(did you mean 'serving'\?\)"),
        ("shapes=[minilm6]", r"shapes: expected some of .* got 'minilm6' \(did you mean 'minilm'\?\)"),
        ("heavy_shapes=[x]", r"heavy_shapes: expected some of"),
        ("seconds=0", r"seconds: expected a number above 0, got 0"),
        ("curve_seconds=-1", r"curve_seconds: expected a number above 0, got -1"),
        ("rounds=0", r"rounds: expected an integer of 1 or more, got 0"),
        ("threads=[1,0]", r"threads: expected an integer of 1 to 1024, got 0"),
        ("lengths=[0]", r"lengths: expected an integer of 1 or more, got 0"),
        ("memory_batches=[[8]]", r"memory_batches: expected pairs of batch size and length, got \[8\]"),
        ("warmup=-1", r"warmup: expected an integer of 0 or more, got -1"),
        ("device=tpu9", r"device: expected auto, cpu or cuda, got 'tpu9'"),
    ],
)
def test_bad_input_is_named(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        run_script(f"folder={tmp_path}", override)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_onnx_runtime_and_memory_for_real(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnnxRuntime, "why_not", WHY_NOT)
        patch.setattr(memory, "measure_peak", measure_peak)
        folder = run_script(*TINY, "parts=[serving,memory]", f"folder={tmp_path}")
    serving = {row["contender"]: row for row in read_part(folder / "serving.csv")}
    peaks = {row["contender"]: row["peak_mib"] for row in read_part(folder / "memory.csv")}
    assert {ONNX_FP32, ONNX_INT8} <= serving.keys() & peaks.keys()
    assert serving[ONNX_INT8]["speedup"] > 0
    assert all(peak > 100 for peak in peaks.values())
