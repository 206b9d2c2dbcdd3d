"""Static shortcuts: the first layers alone answer what the traced head there answered, and cost less."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from eat.benchmark.engines.packed import packed_call
from eat.benchmark.shortcuts import truncated, truncated_trace
from eat.evaluation import evaluate_run
from eat.evaluation.report.table import read_rows
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.sharing import all_off
from eat.traces.record import record_trace
from tests.made.models import TASK, make_batches, make_model
from tests.made.runs import write_run

QUICK = {"examples": 6, "rounds": 1, "warmup": 0, "batch_sizes": [3], "threads": [1], "thresholds": []}
QUICK |= {"onnx": False, "memory": False}


@pytest.mark.parametrize("depth", [1, 3])
def test_first_layers_answer_what_the_head_there_answers(depth: int) -> None:
    model = make_model()
    batches = make_batches()
    metadata = {"split": "validation", "config": all_off(model).config.to_dict()}
    dense = record_trace(all_off(model), batches, TASK, metadata=metadata)
    shallow = truncated(model, depth)
    cut = truncated_trace(dense, depth)
    again = record_trace(shallow, batches, TASK, metadata={"split": "validation", "config": shallow.config.to_dict()})
    np.testing.assert_allclose(again.all_logits, cut.all_logits, atol=1e-12)
    np.testing.assert_array_equal(again.tokens_kept, cut.tokens_kept)
    assert (cut.num_layers, cut.head_depths) == (depth, (depth,))
    assert cut.metadata["config"]["backbone"]["num_layers"] == shallow.config.backbone["num_layers"] == depth
    assert model.num_layers == len(model.encoder.blocks) == 4
    assert next(shallow.parameters()).data_ptr() == next(model.parameters()).data_ptr()


def test_a_shortcut_can_be_saved(tmp_path: Path) -> None:
    shallow = truncated(make_model(torch.float32), 2)
    shallow.save_pretrained(tmp_path)
    loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path).eval()
    batch = [{"input_ids": [1, 2, 3]}, {"input_ids": [4, 5]}]
    with torch.inference_mode():
        np.testing.assert_allclose(packed_call(loaded)(batch), packed_call(shallow)(batch), atol=1e-6)


def test_a_head_reads_and_divides_as_it_did(tmp_path: Path) -> None:
    model = make_model(head_pooling="mean", final_head_pooling="cls")
    model.set_temperatures([2.0, 3.0, 4.0, 5.0])
    for depth, pooling in ((2, "mean"), (4, "cls")):
        shallow = truncated(model, depth)
        assert (shallow.config.head_pooling(depth), shallow.temperatures) == (pooling, (depth + 1.0,))
        shallow.save_pretrained(tmp_path)
        loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float64).eval()
        batch = [{"input_ids": [1, 2, 3]}, {"input_ids": [4, 5]}]
        with torch.inference_mode():
            np.testing.assert_allclose(packed_call(loaded)(batch), packed_call(shallow)(batch), atol=1e-6)


def test_no_head_at_that_depth() -> None:
    model = make_model(head_depths=[2])
    with pytest.raises(ValueError, match=r"depth: expected one with a head, \[2, 4\], got 3"):
        truncated(model, 3)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    full, shallow = write_run(folder / "full"), write_run(folder / "shallow", pruner={"name": "none"})
    model = AdaptiveForSequenceClassification.from_pretrained(shallow / "model")
    truncated(model, 2).save_pretrained(shallow / "model")
    evaluate_run(shallow, stages=["quality"])
    return full, shallow


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eat.evaluation.report.section.draw", lambda *_: None)


def test_shortcuts_stand_beside_the_encoder(runs: tuple[Path, Path]) -> None:
    full, shallow = runs
    report = evaluate_run(full, stages=["benchmark"], benchmark=QUICK | {"shortcut_runs": [str(shallow)]})
    rows = {row["model"]: row for row in report.rows if row["model"] == "static"}
    quality = read_rows(shallow / "report" / "results.csv")
    own = next(r for r in quality if (r["split"], r["exit"], r["metric"]) == ("validation", "never", "accuracy"))
    assert rows["static"]["value"] == pytest.approx(own["value"], abs=1e-6)
    assert (rows["static"]["num_layers"], rows["static"]["note"]) == (2, "trained in shallow")
    own_heads = [row for row in report.rows if row["model"] == "truncated"]
    assert [row["num_layers"] for row in own_heads] == [1, 2, 3]
    ratios = [row["flops_ratio"] for row in own_heads]
    assert ratios == sorted(ratios)
    assert ratios[1] == pytest.approx(0.5, abs=0.05)
    assert ratios[1] == pytest.approx(rows["static"]["flops_ratio"])
    measured = json.loads((report.folder / "benchmark.json").read_text())
    assert all(equal == total for equal, total in measured["agreement"].values())
    assert "static 2 layers" in (report.folder / "summary.md").read_text()


def test_tables_rebuild_without_the_shortcuts_run(runs: tuple[Path, Path], tmp_path: Path) -> None:
    full, shallow = runs
    copy = tmp_path / "full"
    shutil.copytree(full, copy)
    evaluate_run(copy, stages=["benchmark"], benchmark=QUICK | {"shortcut_runs": [str(shallow)]})
    before = (copy / "report" / "results.csv").read_text()
    shutil.rmtree(copy / "model")
    evaluate_run(copy, stages=["quality"])
    again = (copy / "report" / "results.csv").read_text()
    assert [line for line in again.splitlines() if ",static," in line]
    assert [line for line in again.splitlines() if ",static," in line] == [
        line for line in before.splitlines() if ",static," in line
    ]


def test_runs_that_are_no_shortcut_are_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    full, shallow = runs
    with pytest.raises(
        ValueError, match=r"shortcut_runs: expected runs with fewer layers than the model's 4, got full"
    ):
        evaluate_run(full, stages=["benchmark"], benchmark=QUICK | {"shortcut_runs": [str(full)]})
    with pytest.raises(ValueError, match=r"shortcut_runs: expected runs of different numbers of layers"):
        evaluate_run(full, stages=["benchmark"], benchmark=QUICK | {"shortcut_runs": [str(shallow)] * 2})
    untraced = tmp_path / "untraced"
    shutil.copytree(shallow, untraced, ignore=shutil.ignore_patterns("trace"))
    with pytest.raises(ValueError, match=r"the traces of .*untraced are missing or of other weights; make them first"):
        evaluate_run(full, stages=["benchmark"], benchmark=QUICK | {"shortcut_runs": [str(untraced)]})
    other = write_run(tmp_path / "other", seed=1)
    truncated(AdaptiveForSequenceClassification.from_pretrained(other / "model"), 2).save_pretrained(other / "model")
    evaluate_run(other, stages=["quality"])
    with pytest.raises(ValueError, match=r"shortcut_runs: its trace must answer the same"):
        evaluate_run(full, stages=["benchmark"], benchmark=QUICK | {"shortcut_runs": [str(other)]})
