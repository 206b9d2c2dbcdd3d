"""A multi-label run from traces to certificate, exports and answered files: whole sets are compared everywhere."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy.special import expit
from sklearn import metrics as reference
from transformers import AutoTokenizer

from eat.deployment import PredictSettings, predict_file
from eat.evaluation import evaluate_run
from eat.evaluation.certify.losses import RISKS
from eat.exits import EXITS
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.runs.finished import FinishedRun
from eat.traces.quality import measure_point
from eat.traces.run_traces import read_traces
from eat.traces.sweeps import candidate_points, criterion_points, fixed_thresholds
from eat.traces.trace import Trace
from tests.deployment.predictions import one_line, read_rows, write_rows
from tests.made.runs import SETS, write_run

EXIT = {"name": "confidence", "threshold": 0.58}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("sets") / "run", multi_label=True, exit=EXIT)
    evaluate_run(folder, stages=["quality", "sweep", "calibrate"], calibrate={"max_ece": 0.01})
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def trace_of(run: Path) -> Trace:
    return read_traces(FinishedRun(run)).reported


def test_a_trace_holds_the_labels_and_every_criterion_is_replayed(run: Path) -> None:
    trace = trace_of(run)
    rows = rows_of(run / "validation.csv")
    assert trace.labels.tolist() == [[int(row[name]) for name in SETS] for row in rows]
    read = {name for name in EXITS if list(criterion_points(name, trace, fixed_thresholds()))}
    assert read == set(EXITS) - {"difference"}
    assert {point.name for point, _ in candidate_points(trace)} >= {"never", "confidence", "patience"}


def test_metrics_and_the_report_by_label_are_those_of_scikit_learn(run: Path) -> None:
    trace, own = trace_of(run), FinishedRun(run).exit
    point = measure_point(trace, own, trace.full_depth)
    found = [row for row in rows_of(run / "report" / "classes.csv") if row["exit"] == "full depth"]
    predicted = (trace.full_depth > 0).astype(int)
    precision, recall, f1, support = reference.precision_recall_fscore_support(trace.labels, predicted, zero_division=0)
    for row, *values in zip(found, SETS, precision, recall, f1, support, strict=True):
        got = [float(row[name]) for name in ("precision", "recall", "f1", "support")]
        assert row["class"] == values[0] and got == pytest.approx(values[1:], abs=1e-6)
    assert not (run / "report" / "confusion.csv").exists()
    assert "## Labels" in (run / "report" / "summary.md").read_text()
    assert set(point.metrics) == {"micro_f1", "macro_f1", "subset_accuracy", "label_accuracy"}
    assert point.delta is not None and point.delta.gained is not None


def test_predictions_name_every_label_that_applies(run: Path) -> None:
    evaluate_run(run, stages=["quality"], predictions=True)
    trace = trace_of(run)
    (path,) = (run / "report" / "predictions").glob("validation.parquet")
    table = pq.read_table(path).to_pylist()
    assert [row["label"] for row in table] == [
        [name for name, has in zip(SETS, row, strict=True) if has] for row in trace.labels
    ]
    assert {type(row["prediction"]) for row in table} == {list}


@pytest.mark.parametrize("name", ["accuracy_gap", "accuracy_drop", "inconsistency", "brier_gap"])
def test_losses_of_certificates_compare_whole_sets(name: str) -> None:
    rng = np.random.default_rng(0)
    exits, full = rng.normal(size=(2, 50, 3))
    full[:10] = exits[:10]
    labels = (full > 0).astype(np.int8)
    labels[::3] = rng.integers(2, size=labels[::3].shape)
    expected = []
    for ours, theirs, truth in zip(exits, full, labels, strict=True):
        same = [bool((each > 0).tolist() == truth.astype(bool).tolist()) for each in (ours, theirs)]
        scores = [float(np.mean((expit(each) - truth) ** 2)) for each in (ours, theirs)]
        expected.append(
            {
                "accuracy_gap": float(same[1] and not same[0]),
                "accuracy_drop": float(same[1]) - float(same[0]),
                "inconsistency": float(((ours > 0) != (theirs > 0)).any()),
                "brier_gap": max(0.0, scores[0] - scores[1]),
            }[name]
        )
    assert RISKS[name].loss(exits, full, labels).tolist() == pytest.approx(expected)


def test_a_certificate_bounds_how_often_the_set_differs(run: Path) -> None:
    options = {"max_drop": 0.9, "confidence": 0.5, "loss": "inconsistency"}
    evaluate_run(run, stages=["certify"], certify=options)
    certificate = json.loads((run / "report" / "certificate.json").read_text())
    assert certificate["certificate"]["loss"] == "inconsistency"
    with one_line(r"certify.by: expected another than label in a multi-label task"):
        evaluate_run(run, stages=["certify"], certify=options | {"by": "label"})


def test_a_file_is_answered_with_every_label_above_the_threshold(run: Path, tmp_path: Path) -> None:
    texts = ["good soup", "the film was bad", "very not", "poor soup was awful and bad"]
    source = write_rows(tmp_path / "in.jsonl", [{"text": text} for text in texts])
    model = AdaptiveForSequenceClassification.from_pretrained(run / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    for suffix in ("jsonl", "parquet", "csv"):
        settings = PredictSettings(progress=False, probabilities=True, label_threshold=0.45, fresh=True)
        predict_file(run, source, tmp_path / f"out.{suffix}", settings)
        for text, row in zip(texts, read_rows(tmp_path / f"out.{suffix}"), strict=True):
            with torch.no_grad():
                logits = model(**tokenizer(text, return_tensors="pt")).logits[0]
            each = dict(zip(SETS, logits.sigmoid().tolist(), strict=True))
            named = json.loads(row["labels"]) if suffix == "csv" else row["labels"]
            assert named == [name for name, p in each.items() if p > 0.45]
            assert row["score"] == pytest.approx(min(max(p, 1 - p) for p in each.values()), abs=1e-6)
            assert {name: row[f"probability_{name}"] for name in SETS} == pytest.approx(each, abs=1e-6)
    assert "probability_good" not in read_rows(_plain(run, source, tmp_path / "plain.jsonl"))[0]


def test_a_certificate_says_nothing_of_labels_above_another_threshold(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"max_drop": 0.9, "confidence": 0.5, "loss": "inconsistency"}
    evaluate_run(run, stages=["certify"], certify=options)
    source = write_rows(tmp_path / "in.jsonl", [{"text": "good soup"}])
    for threshold, times in ((0.5, 0), (0.4, 1)):
        caplog.clear()
        settings = PredictSettings(progress=False, label_threshold=threshold, fresh=True)
        predict_file(run, source, tmp_path / "out.jsonl", settings)
        assert caplog.text.count("certificate is about labels above 0.5, and says nothing of those above 0.4") == times


def _between(trace: Trace) -> float:
    """Return a threshold that half of the texts reach at the first head: between two of its confidences."""
    first = np.sort(expit(np.abs(trace.all_logits[:, 0]).min(axis=1)))
    return float(first[len(first) // 2 - 1 : len(first) // 2 + 1].mean())


def _plain(run: Path, source: Path, output: Path) -> Path:
    predict_file(run, source, output, PredictSettings(progress=False))
    return output


@pytest.mark.parametrize("int8", [False, True])
def test_an_export_answers_as_the_model_does(run: Path, tmp_path: Path, int8: bool) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from eat.deployment import OnnxClassifier, export_onnx

    model = AdaptiveForSequenceClassification.from_pretrained(run / "model").eval()
    model.config.certificate = None
    model.set_exit(name="confidence", threshold=_between(trace_of(run)))
    served = export_onnx(model, run / "model", tmp_path / "served", int8=int8, **{"bits": 7} if int8 else {})
    classifier = OnnxClassifier.from_folder(served)
    texts = [row["text"] for row in rows_of(run / "validation.csv")][:30]
    tokenizer, depths = AutoTokenizer.from_pretrained(run / "model"), set()
    for text, answer in zip(texts, classifier.predict(texts), strict=True):
        with torch.no_grad():
            output = model(**tokenizer(text, return_tensors="pt"))
        probabilities = output.logits[0].sigmoid().tolist()
        depths.add(answer.exit_depth)
        if not int8:
            assert answer.probabilities == pytest.approx(probabilities, abs=1e-4)
            assert answer.exit_depth == int(output.exit_depth)
        named = tuple(name for name, p in zip(SETS, answer.probabilities, strict=True) if p > 0.5)
        assert answer.label == named
    assert len(depths) > 1
