"""The report's classes: files and text beside the trace's own answers, for odd names and for many classes."""

import csv

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from eat.evaluation import evaluate_run
from eat.evaluation.report.classes import classes_markdown, draw_confusion
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.runs.finished import FinishedRun
from eat.traces.classes import class_qualities, confusion_matrix
from eat.traces.quality import predictions
from eat.traces.replay import replay
from eat.traces.run_traces import read_traces
from tests.made.runs import write_run, write_traced_run


def rows(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_a_report_has_each_class_at_full_depth_and_at_the_operating_point(tmp_path):
    run = write_traced_run(tmp_path / "run")
    trace = read_traces(FinishedRun(run)).reported
    own = OperatingPoint.of(FinishedRun(run).config["exit"])
    found = rows(run / "report" / "classes.csv")
    assert [(row["exit"], row["class"]) for row in found] == [
        *(("full depth", "no"), ("full depth", "yes")),
        *((own.label, "no"), (own.label, "yes")),
    ]
    for point, (no, yes) in zip((FULL_DEPTH, own), (found[:2], found[2:]), strict=True):
        said = predictions(replay(trace, point).logits)
        assert float(yes["f1"]) == pytest.approx(f1_score(trace.labels, said, zero_division=0), abs=1e-6)
        assert float(no["recall"]) == pytest.approx(recall_score(trace.labels, said, pos_label=0), abs=1e-6)
    pairs = rows(run / "report" / "confusion.csv")
    assert sum(int(row["examples"]) for row in pairs if row["exit"] == "full depth") == len(trace)
    text = (run / "report" / "summary.md").read_text()
    assert "## Classes\n\n| class on validation | examples | precision, full depth |" in text
    assert "![confusion.png](confusion.png)" in text


def test_a_regression_has_no_classes(tmp_path, monkeypatch):
    monkeypatch.setattr("eat.evaluation.report.section.draw", lambda *_: None)
    run = write_run(tmp_path / "run", regression=True, exit={"name": "never"})
    evaluate_run(run, stages=["quality"])
    assert "## Classes" not in (run / "report" / "summary.md").read_text()
    assert not (run / "report" / "classes.csv").exists()


def test_means_are_over_classes_that_are_there_as_in_macro_f1():
    labels, predicted = np.array([0, 0, 1, 1, 3]), np.array([0, 1, 1, 1, 0])
    matrix = confusion_matrix(labels, predicted, 4)
    found = class_qualities(matrix, list("abcd"))
    (line,) = (line for line in classes_markdown("x", {"x": found}, 5).splitlines() if "mean" in line)
    assert line.split("|")[-2].strip() == f"{f1_score(labels, predicted, average='macro', zero_division=0):.4f}"


@pytest.mark.figures
@pytest.mark.parametrize("num_classes", [3, 40])
def test_any_names_and_any_number_of_classes_are_laid_out_and_drawn(num_classes, tmp_path):
    names = ["a|b", "$5 $ \\frac", "類\nother", *(f"class {index}" for index in range(num_classes - 3))]
    matrix = np.diag(np.arange(1, num_classes + 1))
    matrix[0, 1] = 9
    draw_confusion("validation", names, {"full depth": matrix, "never": matrix}, tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 0
    found = class_qualities(matrix, names)
    text = classes_markdown("validation", {"full depth": found}, int(matrix.sum()))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == min(num_classes, 20) + 3
    assert table[2].startswith(r"| a\|b ") and table[2].split()[3] == "10"
    assert ("The 20 of 40 classes with the lowest F1; classes.csv has all." in text) == (num_classes == 40)
