"""A finished run from its folder: what is written, what is read back without weights, what is refused."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eat.benchmark.contenders import ALL_OFF, PADDED
from eat.benchmark.engines import ENGINES, Saved
from eat.benchmark.engines.ctranslate2 import CTranslate2
from eat.benchmark.engines.openvino import OpenVino
from eat.benchmark.engines.quantized import Quantized
from eat.benchmark.engines.segments import OnnxSegments
from eat.benchmark.memory import Peak
from eat.evaluation import combine, evaluate_run
from eat.evaluation.report.table import read_rows
from eat.traces.storage import read_trace, write_trace
from tests.made.models import make_model
from tests.made.runs import write_run

GROUPED, ONNX_FP32, ONNX_INT8 = "huggingface_sdpa_grouped", "onnxruntime_fp32", "onnxruntime_int8"
QUICK = {"examples": 6, "rounds": 1, "warmup": 0, "batch_sizes": [1, 3], "threads": [1], "thresholds": [0.8]}
QUICK |= {"onnx": False, "memory": False}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("runs") / "small")
    evaluate_run(folder, benchmark=QUICK)
    return folder


@pytest.fixture(autouse=True)
def _no_figures(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw once, in `evaluated`; figures are most of a report's time."""
    monkeypatch.setattr("eat.evaluation.report.section.draw", lambda *_: None)


@pytest.fixture
def without_weights(evaluated: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    shutil.copytree(evaluated, folder, ignore=shutil.ignore_patterns("model"))
    return folder


def test_report_is_written(evaluated: Path) -> None:
    report = evaluated / "report"
    names = {"results.csv", "frontier.csv", "frontier.png", "exits.png", "calibration.png", "summary.md"}
    names |= {"criteria.png", "pareto.csv", "classes.csv", "confusion.csv", "confusion.png"}
    assert names | {"benchmark.json", "operating_point.json"} == {path.name for path in report.iterdir()}
    assert {path.stem for path in (evaluated / "trace").iterdir()} == {
        *("threshold", "certification", "validation", "validation.all_off")
    }
    text = (report / "summary.md").read_text()
    assert "validation: 40 examples, complete" in text
    assert "Answers on the timed examples that equal the replayed ones, and logits beside those with everything" in text
    assert "6 in 6 full batches at batch size 1, 1 rounds after 0 warm-up calls; 6 in 2 full batches at batch" in text
    assert "interval that holds for other texts: 6 at batch size 1, 2 at batch size 3, of 8 needed" in text
    place, command = str(evaluated.parent), [line for line in text.splitlines() if "evaluate.py run=" in line]
    assert place not in text.replace(command[0], "")  # nothing of this machine, but where it lies


@pytest.mark.parametrize(
    ("parts", "figures"),
    [
        ({"pruner": {"name": "none"}, "head_depths": ()}, set()),
        ({"head_depths": ()}, {"exits.png"}),
        ({"pruner": {"name": "none"}}, {"exits.png"}),
    ],
    ids=["dense", "pruned", "heads"],
)
def test_nothing_is_drawn_where_there_is_nothing_to_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any], figures: set[str]
) -> None:
    def draw(figure: Callable[[Path], None], path: Path) -> None:
        if path.name in ("frontier.png", "exits.png"):
            figure(path)

    monkeypatch.setattr("eat.evaluation.report.section.draw", draw)
    report = evaluate_run(write_run(tmp_path / "small", exit={"name": "never"}, **parts), stages=["quality"]).folder
    assert {path.name for path in report.glob("*.png")} == figures, "a single point is no frontier"
    text = (report / "summary.md").read_text()
    assert {name for name in ("frontier.png", "exits.png") if f"![{name}]({name})" in text} == figures


def test_without_figures_the_report_is_the_same_and_says_how_they_are_drawn(
    without_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = without_weights / "report"
    images = {path.name for path in report.glob("*.png")}
    assert images
    rows = (report / "frontier.csv").read_bytes()
    evaluate_run(without_weights, figures=False)
    text = (report / "summary.md").read_text()
    assert not list(report.glob("*.png")), "they would show the numbers of another report"
    assert (report / "frontier.csv").read_bytes() == rows
    assert "![" not in text and "figures=true` draws them" in text and "figures=false" in text

    monkeypatch.setattr("eat.evaluation.report.section.draw", lambda _, path: path.touch())
    evaluate_run(without_weights)
    assert {path.name for path in report.glob("*.png")} == images
    assert "figures=" not in (report / "summary.md").read_text()


def test_exits_of_a_model_without_early_heads_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    evaluate_run(write_run(tmp_path / "small"), stages=["quality"])
    dense = write_run(tmp_path / "dense", exit={"name": "never"}, head_depths=())
    evaluate_run(dense, stages=["quality"])
    assert "early head" not in caplog.text
    evaluate_run(dense, stages=["quality"], exit={"name": "confidence", "threshold": 0.9})
    assert "exit: dense has no early head: no text leaves early" in caplog.text


def test_measured_points_have_times_and_others_do_not(evaluated: Path) -> None:
    rows = read_rows(evaluated / "report" / "frontier.csv")
    ours = [row for row in rows if row["model"] == "eat" and row["exit"] == "confidence"]
    timed = {row["threshold"] for row in ours if row["latency_ms_p50"] is not None}
    assert timed == {0.6, 0.8}
    assert timed < {row["threshold"] for row in ours}
    baselines = [row for row in rows if row["model"] == "dense"]
    assert [row["num_layers"] for row in rows if row["model"] == "truncated" and row["batch_size"] == 1] == [1, 2, 3]
    assert {row["engine"] for row in baselines} == {"huggingface_sdpa_padded", "huggingface_sdpa_grouped", "eat"}
    assert all(row["attention"] == "full" and row["pruner"] == "none" for row in baselines)
    assert {row["flops_ratio"] for row in baselines if row["batch_size"] == 1} == {1.0}


def test_a_baseline_that_is_another_model_gets_no_quality(without_weights: Path, tmp_path: Path) -> None:
    report = without_weights / "report"
    written = json.loads((report / "benchmark.json").read_text())

    def padded_row(benchmark: dict[str, Any]) -> dict[str, Any]:
        (report / "benchmark.json").write_text(json.dumps(benchmark))
        evaluate_run(without_weights, stages=["quality"])
        return next(row for row in read_rows(report / "results.csv") if row["engine"] == PADDED)

    def without(key: str) -> dict[str, Any]:
        return {name: value for name, value in written.items() if name != key}

    assert padded_row(written)["value"] is not None
    other = written["beside_all_off"][PADDED] | {"difference": 0.4, "differ": 1}
    row = padded_row(written | {"beside_all_off": written["beside_all_off"] | {PADDED: other}})
    assert (row["value"], row["delta_points"], row["ece"]) == (None, None, None)
    assert row["latency_ms_p50"] > 0
    said = "another model: logits within 0.4, 1 of 6 labels differ"
    assert row["note"] == said
    assert f"6 of 6; **{said}**, so that no quality stands beside its times" in (report / "summary.md").read_text()
    # Older files compared labels alone.
    assert padded_row(without("beside_all_off"))["value"] is not None
    older = without("beside_all_off") | {"agreement": written["agreement"] | {PADDED: [5, 6]}}
    assert padded_row(older)["note"] == "another model: 1 of 6 labels differ"


def test_an_interval_needs_enough_batches(without_weights: Path) -> None:
    report = without_weights / "report"
    written = json.loads((report / "benchmark.json").read_text())
    for examples, has_interval in ((7, False), (8, True)):
        for one in written["measurements"]:
            one["examples"], one["speedup"] = examples, {PADDED: [1.5, 1.4, 1.6], ALL_OFF: [1.0, 0.9, 1.1]}
        (report / "benchmark.json").write_text(json.dumps(written))
        evaluate_run(without_weights, stages=["quality"])
        row = next(r for r in read_rows(report / "results.csv") if r["engine"] == "eat" and r["batch_size"] == 1)
        assert row["speedup"] == 1.5
        assert (row["speedup_low"], row["speedup_high"]) == ((1.4, 1.6) if has_interval else (None, None))
        line = next(
            line for line in (report / "summary.md").read_text().splitlines() if "| eat, everything off " in line
        )
        assert ("1.50x [1.40, 1.60]" in line) == has_interval and "1.50x" in line


def test_every_contender_of_the_protocol_is_measured(
    evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def peak(name: str, saved: Saved, batches: list[Any], threads: int) -> Peak:
        asked.append(name)
        assert Path(saved.path).exists()
        assert sum(map(len, batches)) == 3  # the heaviest batch
        return Peak(300.0, 20.0, 200.0)

    monkeypatch.setattr("eat.benchmark.run.measure_peak", peak)
    for engine in (OpenVino, CTranslate2, OnnxSegments, Quantized):  # they have tests of their own
        monkeypatch.setattr(engine, "why_not", lambda self, device: "left out of this test")
    folder = tmp_path / "small"
    shutil.copytree(evaluated, folder)
    report = evaluate_run(folder, stages=["benchmark"], benchmark=QUICK | {"onnx": True, "memory": True})
    measured = json.loads((report.folder / "benchmark.json").read_text())
    own = ["never", "confidence threshold=0.8", "confidence threshold=0.6"]
    shortcuts = ["first_1_layers", "first_2_layers", "first_3_layers"]
    names = [PADDED, GROUPED, ALL_OFF, *shortcuts, *own, ONNX_FP32, ONNX_INT8]
    assert [m["contender"] for m in measured["measurements"] if m["batch_size"] == 3] == names
    assert asked == [PADDED, ALL_OFF, *shortcuts, "never", ONNX_FP32, ONNX_INT8]
    compared = measured["beside_all_off"]
    assert list(compared) == names
    exact = [compared[name] for name in (PADDED, GROUPED, ALL_OFF, ONNX_FP32)]
    assert all(0 <= one["difference"] <= one["tolerance"] and one["differ"] == 0 for one in exact)
    assert compared[ONNX_INT8]["difference"] > compared[ONNX_INT8]["tolerance"]
    others = OpenVino | CTranslate2 | OnnxSegments | Quantized
    peers = [name for name, engine in ENGINES.items() if isinstance(engine, others)]
    absent = dict.fromkeys(peers, "left out of this test")
    slow = "bf16 is no faster than float32 on this processor (bf16_gain=1)"
    assert measured["not_measured"] == absent | {"huggingface_bf16": slow}
    exact = {name: count for name, count in measured["agreement"].items() if name != ONNX_INT8}
    assert all(equal == total == 6 for equal, total in exact.values())
    rows = {row["engine"]: row for row in read_rows(report.folder / "results.csv") if row["batch_size"] == 3}
    assert (rows[ONNX_FP32]["dtype"], rows[ONNX_INT8]["dtype"]) == ("float32", "int8")
    assert rows[ONNX_FP32]["value"] == rows[PADDED]["value"]
    own = measured["quality"]
    assert list(own) == [ONNX_INT8]  # the one that rounds: its own answers to the whole split
    assert rows[ONNX_INT8]["value"] == pytest.approx(own[ONNX_INT8]["metrics"]["accuracy"])
    assert rows[ONNX_INT8]["delta_points"] == pytest.approx(own[ONNX_INT8]["delta"][0])
    padded = rows[PADDED]
    assert (padded["peak_memory_mib"], padded["peak_memory_over_loaded_mib"]) == (300.0, 20.0)
    assert all(row["speedup_tokenised"] is not None for row in rows.values())
    before = {path.name: path.read_text() for path in report.folder.glob("*.[cm]*")}
    shutil.rmtree(folder / "model")
    evaluate_run(folder, stages=["quality"])
    assert {path.name: path.read_text() for path in report.folder.glob("*.[cm]*")} == before


def test_who_was_not_measured_is_a_row_with_the_reason(evaluated: Path) -> None:
    rows = read_rows(evaluated / "report" / "results.csv")
    absent = {row["engine"]: row for row in rows if row["note"]}
    notes = {name: row["note"] for name, row in absent.items()}
    assert notes.pop("eat_int8").startswith("not measured: int8 is no faster than float32")
    exported = [name for name, engine in ENGINES.items() if engine.exported]
    assert {name: notes[name] for name in exported} == dict.fromkeys(
        exported, "not measured: left out with benchmark.onnx=false"
    )
    assert (
        "- ONNX Runtime, int8: left out with benchmark.onnx=false" in (evaluated / "report" / "summary.md").read_text()
    )


def test_efficiency_is_saved_time_by_saved_work(evaluated: Path) -> None:
    measured = json.loads((evaluated / "report" / "benchmark.json").read_text())["measurements"]
    expected = [m["speedup"]["eat_all_off"][0] * m["flops_ratio"] for m in measured if m["exit"]]
    rows = read_rows(evaluated / "report" / "results.csv")
    shown = [r["efficiency"] for r in rows if r["model"] == "eat" and r["baseline"] == "huggingface_sdpa_padded"]
    assert shown == pytest.approx(expected, rel=1e-4)
    assert all(row["efficiency"] is None for row in rows if row["model"] == "dense")


def test_older_times_are_still_shown(evaluated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    shutil.copytree(evaluated, folder)
    path = folder / "report" / "benchmark.json"
    measured = json.loads(path.read_text())
    for key in ("memory", "not_measured", "shortcuts"):
        del measured[key]
    measured["measurements"] = [m for m in measured["measurements"] if not m["contender"].startswith("first")]
    measured["agreement"] = {k: v for k, v in measured["agreement"].items() if not k.startswith("first")}
    for one in measured["measurements"]:
        del one["speedup_tokenised"], one["tokenising_ms"]
    path.write_text(json.dumps(measured))
    report = evaluate_run(folder, stages=["quality"])
    timed = [row for row in report.rows if row["speedup"] is not None]
    assert len(timed) == len(measured["measurements"])
    assert "with tokenising" not in (report.folder / "summary.md").read_text()


def test_live_answers_equal_the_replayed_ones(evaluated: Path) -> None:
    agreement = json.loads((evaluated / "report" / "benchmark.json").read_text())["agreement"]
    assert len(agreement) == 9  # three baselines, three points, three shortcuts
    assert all(equal == total == 6 for equal, total in agreement.values())


def test_results_hold_every_metric_and_split(evaluated: Path) -> None:
    everything = read_rows(evaluated / "report" / "results.csv")
    rows = [row for row in everything if not (row["note"] or "").startswith("not measured")]
    assert {row["metric"] for row in rows} == {"accuracy", "macro_f1"}
    assert {row["split"] for row in rows} == {"threshold", "certification", "validation"}
    assert {row["commit"] for row in rows} == {"abc1234"}
    assert {row["baseline"] for row in rows} == {None, "huggingface_sdpa_padded", "eat_all_off"}


def test_tables_rebuild_without_weights(evaluated: Path, without_weights: Path) -> None:
    report = evaluate_run(without_weights)
    assert (report.folder / "results.csv").read_text() == (evaluated / "report" / "results.csv").read_text()
    with pytest.raises(FileNotFoundError, match="the benchmark needs weights"):
        evaluate_run(without_weights, stages=["benchmark"])
    with pytest.raises(FileNotFoundError, match=r"no model/ .* new traces"):
        evaluate_run(without_weights, fresh=True)


def test_another_exit_is_another_report(evaluated: Path) -> None:
    report = evaluate_run(evaluated, exit={"threshold": 0.7}, stages=["quality"])
    assert report.folder == evaluated / "report" / "confidence-threshold-0.7"
    exits = [(row["exit"], row["threshold"]) for row in report.rows]
    assert exits == [("never", None), ("confidence", 0.7)]
    patient = evaluate_run(evaluated, exit={"name": "patience"}, stages=["quality"])
    assert [(row["exit"], row["patience"]) for row in patient.rows] == [("never", None), ("patience", 1)]
    shutil.rmtree(report.folder)
    shutil.rmtree(patient.folder)


def test_a_threshold_per_class_is_an_operating_point(evaluated: Path, tmp_path: Path) -> None:
    report = evaluate_run(evaluated, exit={"threshold": [0.55, 0.7]}, stages=["quality"])
    assert report.folder == evaluated / "report" / "confidence-threshold-0.55,0.7"
    assert [row["threshold"] for row in report.rows] == [None, [0.55, 0.7]]
    assert "'exit.threshold=[0.55,0.7]'" in (report.folder / "summary.md").read_text()
    assert "confidence 0.55,0.7" in combine([report.folder], tmp_path)
    swept = evaluate_run(evaluated, exit={"threshold": [0.55, 0.7]}, stages=["sweep"])
    assert len({row["threshold"] for row in swept.rows if isinstance(row["threshold"], float)}) > 3
    assert [0.55, 0.7] in [row["threshold"] for row in swept.rows]
    shutil.rmtree(report.folder)
    with pytest.raises(ValueError, match=r"exit\.threshold: .* one for each of the 2 classes, got 3"):
        evaluate_run(evaluated, exit={"threshold": [0.5, 0.6, 0.7]}, stages=["quality"])


def test_the_front_is_reported_on_the_split_it_was_chosen_on_and_on_the_other(evaluated: Path) -> None:
    rows = read_rows(evaluated / "report" / "pareto.csv")
    chosen, reported = ([row for row in rows if row["split"] == split] for split in ("threshold", "validation"))
    points = [[(row["exit"], row["threshold"], row["patience"]) for row in split] for split in (chosen, reported)]
    assert points[0] == points[1] and len(rows) == 2 * len(chosen)
    assert [row["flops_ratio"] for row in chosen] == sorted(row["flops_ratio"] for row in chosen)
    assert [row["value"] for row in chosen] == sorted({row["value"] for row in chosen})


def test_a_baseline_run_is_what_points_are_lost_to(evaluated: Path, tmp_path: Path) -> None:
    copy = tmp_path / "dense"
    shutil.copytree(evaluated, copy, ignore=shutil.ignore_patterns("model", "report"))
    report = evaluate_run(evaluated, baseline_run=copy, stages=["quality"])
    assert "the dense run dense" in (report.folder / "summary.md").read_text()
    other = write_run(tmp_path / "other", seed=1)
    evaluate_run(other, stages=["quality"])
    with pytest.raises(ValueError, match="baseline_run: its trace must answer the same"):
        evaluate_run(evaluated, baseline_run=other, stages=["quality"])
    evaluate_run(evaluated, stages=["quality", "sweep"])


def test_a_regression_run_has_no_exits_to_sweep(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "scores", exit={"name": "never"}, regression=True)
    report = evaluate_run(folder, benchmark=QUICK)
    assert {row["exit"] for row in report.rows} == {"never"}
    assert {row["metric"] for row in report.rows} == {"pearson"}
    assert all(row["ece"] is None for row in report.rows)
    assert "eat, full depth *" in report.table
    with pytest.raises(ValueError, match="regression"):
        evaluate_run(folder, exit={"name": "confidence"})


def test_newer_weights_are_traced_again(evaluated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    shutil.copytree(evaluated, folder)
    shutil.rmtree(folder / "model")
    other = write_run(tmp_path / "other", pruner={"name": "none"})
    shutil.copytree(other / "model", folder / "model")
    report = evaluate_run(folder, stages=["quality"])
    assert {row["pruner"] for row in report.rows} == {"none"}
    assert all(row["latency_ms_p50"] is None for row in report.rows)  # measured on the old weights
    assert not (folder / "trace" / "validation.all_off.parquet").exists()


def test_several_reports_become_one(evaluated: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "unpruned", pruner={"name": "none"})
    report = evaluate_run(other, stages=["quality"])
    table = combine([evaluated, report, report.folder], tmp_path / "sweep")
    files = {f"{name}.{kind}" for name in ("combined", "exits") for kind in ("csv", "md", "png")}
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == files
    lines = table.splitlines()
    assert len(lines) == 4
    assert "pruner l2_norm" in lines[2]
    assert "pruner none" in lines[3]
    assert "confidence 0.6" in lines[3]
    with pytest.raises(ValueError, match="at least one report"):
        combine([], tmp_path)
    with pytest.raises(FileNotFoundError, match="no report in"):
        combine([tmp_path], tmp_path)


def test_missing_folder_names_runs_near_it(evaluated: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*smal; runs near it: .*small"):
        evaluate_run(evaluated.with_name("smal"))


def test_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no config\.yaml"):
        evaluate_run(tmp_path)


def test_training_that_is_not_finished(evaluated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(evaluated / "config.yaml", folder)
    with pytest.raises(FileNotFoundError, match=r"not finished and there is no checkpoint; .*resume="):
        evaluate_run(folder)
    (folder / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(FileNotFoundError, match=r"not finished \(checkpoints: last.ckpt\); .*resume="):
        evaluate_run(folder)


def test_half_written_model(evaluated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    shutil.copytree(evaluated, folder)
    (folder / "model" / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model is half written, model.safetensors missing"):
        evaluate_run(folder)


def test_missing_and_damaged_traces(without_weights: Path) -> None:
    (without_weights / "trace" / "threshold.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"trace lacks threshold.parquet"):
        evaluate_run(without_weights)
    (without_weights / "trace" / "threshold.parquet").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"threshold.parquet is not a readable trace"):
        evaluate_run(without_weights)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"split": "certification"},
            r"threshold.parquet is not a trace of this run \(metadata: expected the split 'thr",
        ),
        (
            {"fingerprint": "another"},
            r"trace: the files in .*/trace are of different weights \(.*threshold.*\)",
        ),
        ({"fingerprint": 5}, r"threshold.parquet is not a trace of this run \(metadata: .* fingerprint 5"),
        (
            {"traces": "threshold"},
            r"threshold.parquet is not .*expected the names of the run's traces, got 'threshold'",
        ),
        ({"config": {}}, r"threshold.parquet is not .*'config' is no model's"),
        (
            {"config": make_model(head_depths=[1]).config.to_dict()},
            r"'config' has layers, heads and classes \(4, \(1, 4",
        ),
    ],
)
def test_traces_of_something_else(changes: dict[str, Any], message: str, without_weights: Path) -> None:
    path = without_weights / "trace" / "threshold.parquet"
    trace = read_trace(path)
    write_trace(dataclasses.replace(trace, metadata=trace.metadata | changes), path)
    with pytest.raises(ValueError, match=message):
        evaluate_run(without_weights)
    write_trace(dataclasses.replace(trace, metadata={}), path)
    with pytest.raises(ValueError, match=r"threshold.parquet is .* \['config', 'data', 'fingerprint', .*are missing"):
        evaluate_run(without_weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": ["qualty"]}, r"stages: expected some of .* got 'qualty' \(did you mean 'quality'\?\)"),
        ({"benchmark": {"round": 3}}, r"benchmark.round: expected one of .* \(did you mean 'rounds'\?\)"),
        ({"benchmark": {"rounds": 0}}, r"benchmark.rounds: expected an integer of 1 or more"),
        ({"exit": {"name": "confident"}}, r"exit.name: expected one of .*'confidence'"),
        ({"exit": {"threshold": 1.5}}, r"exit.threshold: expected a number in \[0, 1\], got 1.5"),
        ({"thresholds": [2.0]}, r"thresholds: expected a number in \[0, 1\], got 2.0"),
    ],
)
def test_bad_options_are_named(evaluated: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_run(evaluated, **options)


@pytest.mark.parametrize("compile", [False, True])
def test_compiled_blocks_on_request(
    compile: bool, evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eat.evaluation.context.read_benchmark", lambda *_: pytest.fail("reads what it has measured"))
    compiled = []
    model_class = "eat.models.classifier.AdaptiveForSequenceClassification"
    monkeypatch.setattr(f"{model_class}.compile_blocks", lambda model: compiled.append(model))
    folder = shutil.copytree(evaluated, tmp_path / "small")
    evaluate_run(folder, stages=["benchmark"], benchmark=QUICK, compile=compile)
    assert len(compiled) == compile
