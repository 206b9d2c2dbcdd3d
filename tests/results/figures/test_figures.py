"""Figures are drawn from run folders as PNG and PDF, the same bytes each time, and say what they leave out."""

import dataclasses

import numpy as np
import pytest

from eat.results.collect import collect
from eat.results.figures import FIGURES, draw_all, draw_suite, folder_names
from eat.results.figures.reliability import draw_reliability
from eat.results.figures.schedule import draw_schedule
from eat.results.figures.suite import NothingToDrawError
from tests.made.evidence import make_evidence, make_suite, timed_row
from tests.results.made import write_logged

pytestmark = pytest.mark.figures

TRAINING = [{"step": 20.0 * i, "train/pruning_scale": i / 9, "train/retention": 1 - i / 20} for i in range(10)]


@pytest.fixture
def suite():
    """Three kinds of experiments, two seeds of one, times of some."""
    point = {"exit": "confidence", "threshold": 0.6}
    rows = [timed_row("eat", "eat", 3.0, 0.6, **point), timed_row("dense", "onnxruntime_fp32", 6.0, 0.6)]
    adaptive = [make_evidence(seed=seed, rows=rows, metrics=TRAINING) for seed in (0, 1)]
    return make_suite({"dense": [make_evidence("dense")], "static": [make_evidence("static")], "eat": adaptive})


SWEPT = "exit.threshold 0.6, pruner.name l2_norm, schedule.anneal_epochs {}, pruner.ratio 0.3"
"""Names an experiment of a sweep, by the settings in which its runs differ."""


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


@pytest.mark.parametrize("name", ["distilled_without_annealing_{}", SWEPT])
def test_nothing_lies_outside_the_page_where_names_are_long(suite, tmp_path, monkeypatch, name):
    """Long labels, many experiments and baselines: legends, titles and ticks stay within each figure."""
    spans = {}

    def measure(figure, path, format, **_):
        path.write_bytes(b"drawn")
        if format == "png":
            figure.draw_without_rendering()
            spans[path.name] = (figure.get_tightbbox().extents, figure.get_size_inches())

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", measure)
    eat = suite.experiments["eat"]
    many = {name.format(i): eat for i in range(4)}
    draw_suite(make_suite({"static": suite.experiments["static"], **many}), tmp_path)
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
    notes = draw_suite(make_suite({"dense": [make_evidence("dense")]}), tmp_path)
    assert notes == [
        "frontier: no latency is drawn, none was measured; evaluate with stages=[benchmark]",
        "schedule: not drawn, no run prunes tokens",
        "retention: not drawn, no run prunes tokens",
        "exits: not drawn, no run has early heads; train with head_depths",
        "costs: not drawn, all runs are dense or static: no cost but the dense encoder's",
    ]
    assert {path.stem for path in tmp_path.iterdir()} == {"frontier", "ablation", "reliability"}


def test_without_metrics_the_training_is_left_out(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("eat.results.figures.schedule.legend_below", lambda figure, *_: drawn.append(len(figure.axes)))
    run = make_evidence(name="untold")
    notes = draw_schedule(make_suite({"eat": [run]}), tmp_path / "schedule")
    assert notes == ["schedule: untold has no retention in metrics.csv; its training is left out"]
    assert (tmp_path / "schedule.png").is_file()
    assert drawn == [1], "no empty panel"


def test_the_smallest_batch_size_that_was_timed_is_drawn_and_named(tmp_path, monkeypatch):
    axes = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, path, **_: path.write_bytes(b"drawn"))
    monkeypatch.setattr("eat.results.figures.frontier._draw_marks", lambda suite, drawn, *_: axes.append(drawn))
    rows = [timed_row("eat", "eat", 3.0, 0.6, batch_size=size) for size in (8, 32)]
    assert FIGURES["frontier"](make_suite({"eat": [make_evidence(rows=rows)]}), tmp_path / "frontier") == []
    assert [drawn.get_xlabel().partition(" (")[0] for drawn in axes] == [
        "mean latency at batch size 8, ms",
        "executed FLOPs / dense encoder's",
    ]


def test_a_regression_has_no_reliability(tmp_path):
    run = make_evidence()
    trace = run.traces.reported
    trace = dataclasses.replace(trace, all_logits=trace.all_logits[:, :, :1], labels=trace.labels.astype(np.float64))
    run = dataclasses.replace(run, traces=dataclasses.replace(run.traces, splits={"validation": trace}))
    with pytest.raises(NothingToDrawError, match="made_up is a regression: no class probabilities"):
        draw_reliability(make_suite({"eat": [run]}), tmp_path / "reliability")


def test_more_experiments_than_a_figure_has_room_for_are_named(tmp_path, unsaved):
    many = make_suite({f"eat {i}": [make_evidence()] for i in range(7)})
    assert FIGURES["exits"](many, tmp_path / "exits") == ["exits: shows the first 6 of 7 experiments, by name"]


def test_times_of_two_machines_are_not_drawn_together(suite, tmp_path, unsaved):
    other = make_evidence("dense", rows=[timed_row("eat", "eat", 1.0, 0.6, device="cuda")])
    notes = FIGURES["frontier"](make_suite({**suite.experiments, "dense": [other]}), tmp_path / "frontier")
    assert notes == ["frontier: no latency is drawn, times are of 2 kinds (cpu, 1 thread; cuda, 1 thread)"]


def test_a_block_is_drawn_into_a_folder_and_one_damaged_file_leaves_its_run_out(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("eat.results.figures.draw_suite", lambda s, f, c: drawn.append((s, f)) or ["exits: a note"])
    write_logged(tmp_path / "one")
    damaged = write_logged(tmp_path / "two", seed=1)
    (damaged / "metrics.csv").write_text("step,train/retention\n20,high\n")
    notes = draw_all(collect(tmp_path)[0], tmp_path / "figures")
    left_out, note = notes
    assert left_out.startswith(f"left out: {damaged}/metrics.csv: column 'train/retention': expected numbers; ")
    assert note == "made_up-tiny-smoke-holdout_mine: exits: a note"
    ((suite, folder),) = drawn
    assert folder == tmp_path / "figures" / "made_up-tiny-smoke-holdout_mine"
    (run,) = suite.runs
    assert (run.name, run.point.label, run.metrics) == ("one", "never", [])
    assert next(row["exit"] for row in run.rows) == "never"


def test_folders_are_named_by_what_tells_blocks_apart():
    block = make_suite({}).block
    other = dataclasses.replace(block, rows="2,000 rows")
    standard = dataclasses.replace(block, holdout="standard")
    assert folder_names([block, other, standard]) == {
        block: "made_up-tiny-smoke-holdout_small-100_rows",
        other: "made_up-tiny-smoke-holdout_small-2_000_rows",
        standard: "made_up-tiny-smoke",
    }
