"""Figures are drawn from run folders as PNG and PDF, the same bytes each time, and say what they leave out."""

import dataclasses

import numpy as np
import pytest

from eat.results.figures import FIGURES, draw_all, draw_suite
from eat.results.figures.reliability import draw_reliability
from eat.results.figures.schedule import draw_schedule
from eat.results.figures.suite import NothingToDrawError, Suite
from eat.runs.finished import FinishedRun
from tests.made.evidence import make_evidence, timed_row
from tests.made.runs import write_run, write_traced_run

TRAINING = [{"step": 20.0 * i, "train/pruning_scale": i / 9, "train/retention": 1 - i / 20} for i in range(10)]


@pytest.fixture
def suite():
    """Three kinds of experiments, two seeds of one, times of some."""
    point = {"exit": "confidence", "threshold": 0.6}
    rows = [timed_row("eat", "eat", 3.0, 0.6, **point), timed_row("dense", "onnxruntime_fp32", 6.0, 0.6)]
    adaptive = [make_evidence(seed=seed, rows=rows, metrics=TRAINING) for seed in (0, 1)]
    return Suite({"dense": [make_evidence("dense")], "static": [make_evidence("static")], "eat": adaptive})


@pytest.fixture
def unsaved(monkeypatch):
    """Leave out what takes time: figures are laid out but not written."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, path, **_: path.write_bytes(b"drawn"))


def test_every_figure_is_a_png_and_a_pdf(suite, tmp_path):
    notes = draw_suite(suite, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.{end}" for name in FIGURES for end in ("png", "pdf")}
    assert notes == ["costs: no times are drawn, no benchmark with cost curves was given"]
    for path in tmp_path.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"%PDF")


def test_nothing_lies_outside_the_page_where_names_are_long(suite, tmp_path, monkeypatch):
    """Long labels, many experiments and baselines: legends and ticks stay within each figure."""
    spans = {}

    def measure(figure, path, format, **_):
        path.write_bytes(b"drawn")
        if format == "png":
            figure.draw_without_rendering()
            spans[path.name] = (figure.get_tightbbox().extents, figure.get_size_inches())

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", measure)
    eat = suite.experiments["eat"]
    many = {f"distilled_without_annealing_{i}": eat for i in range(4)}
    draw_suite(Suite({"static": suite.experiments["static"], **many}), tmp_path)
    assert len(spans) == len(FIGURES)
    outside = {
        name: (extents.round(2), size)
        for name, (extents, size) in spans.items()
        if extents[:2].min() < -0.02 or (extents[2:] > size + 0.02).any()
    }
    assert outside == {}


def test_a_figure_is_the_same_bytes_each_time_and_bears_no_date(suite, tmp_path):
    draw_schedule(suite, tmp_path / "one")
    draw_schedule(suite, tmp_path / "two")
    for end in ("png", "pdf"):
        drawn = (tmp_path / f"one.{end}").read_bytes()
        assert drawn == (tmp_path / f"two.{end}").read_bytes()
        assert b"CreationDate" not in drawn and b"Creation Time" not in drawn


def test_a_figure_that_no_run_has_anything_for_is_left_out_with_its_reason(tmp_path, unsaved):
    notes = draw_suite(Suite({"dense": [make_evidence("dense")]}), tmp_path)
    assert notes == [
        "frontier: no latency is drawn, none was measured at batch size 1; evaluate with stages=[benchmark]",
        "schedule: not drawn, no run prunes tokens",
        "retention: not drawn, no run prunes tokens",
        "exits: not drawn, no run has early heads; train with head_depths",
        "costs: not drawn, all runs are dense or static: no cost but the dense encoder's",
    ]
    assert {path.stem for path in tmp_path.iterdir()} == {"frontier", "ablation", "reliability"}


def test_without_metrics_the_training_is_left_out(tmp_path, unsaved):
    run = make_evidence(name="untold")
    notes = draw_schedule(Suite({"eat": [run]}), tmp_path / "schedule")
    assert notes == ["schedule: untold has no retention in metrics.csv; its training is left out"]
    assert (tmp_path / "schedule.png").is_file()


def test_a_regression_has_no_reliability(tmp_path):
    run = make_evidence()
    trace = run.traces.reported
    trace = dataclasses.replace(trace, all_logits=trace.all_logits[:, :, :1], labels=trace.labels.astype(np.float64))
    run = dataclasses.replace(run, traces=dataclasses.replace(run.traces, splits={"validation": trace}))
    with pytest.raises(NothingToDrawError, match="made_up is a regression: no class probabilities"):
        draw_reliability(Suite({"eat": [run]}), tmp_path / "reliability")


def test_more_experiments_than_a_figure_has_room_for_are_named(tmp_path, unsaved):
    many = Suite({f"eat {i}": [make_evidence()] for i in range(7)})
    assert FIGURES["exits"](many, tmp_path / "exits") == ["exits: shows the first 6 of 7 experiments, by name"]


def test_times_of_two_machines_are_not_drawn_together(suite, tmp_path, unsaved):
    other = make_evidence("dense", rows=[timed_row("eat", "eat", 1.0, 0.6, device="cuda")])
    notes = FIGURES["frontier"](Suite({**suite.experiments, "dense": [other]}), tmp_path / "frontier")
    assert notes == ["frontier: no latency is drawn, times are of 2 kinds (cpu, 1 thread; cuda, 1 thread)"]


def test_run_folders_are_read_and_one_without_traces_is_named(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("eat.results.figures.draw_suite", lambda s, f, c: drawn.append((s, f)) or ["exits: a note"])
    traced, bare = write_traced_run(tmp_path / "traced"), write_run(tmp_path / "bare", seed=1)
    notes = draw_all([FinishedRun(traced), FinishedRun(bare)], tmp_path / "figures")
    assert notes == [
        f"left out: bare: no traces; make them with `python evaluate.py run={bare} stages=[quality]`",
        "file-tiny-smoke: exits: a note",
    ]
    ((suite, folder),) = drawn
    assert folder == tmp_path / "figures" / "file-tiny-smoke"
    (run,) = suite.runs
    assert run.point.label == "confidence threshold=0.6" and run.has_early_heads and run.prunes
    assert next(row["exit"] for row in run.rows) == "never" and run.metrics == []


def test_damaged_files_of_a_run_are_named(tmp_path):
    folder = write_traced_run(tmp_path / "traced")
    (folder / "metrics.csv").write_text("step,train/retention\n20,high\n")
    (note,) = draw_all([FinishedRun(folder)], tmp_path / "figures")
    assert note.startswith("left out: ") and "metrics.csv: column 'train/retention': expected numbers" in note
    assert not (tmp_path / "figures").exists()
