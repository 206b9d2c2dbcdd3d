"""Lines for log files, and the bar of a terminal, say which run it is, where it stands and how long it will take."""

import re
import sys

import pytest

from eat.checks import duration
from eat.training.progress import ProgressLines, RunBar, TimeLeft, progress_bar
from tests.training.small import fit


def test_lines_name_run_epoch_batch_loss_accuracy_retention_and_time_left(tmp_path, capsys):
    fit(tmp_path / "my-run", ProgressLines(every_s=0.0), max_epochs=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert lines[0].startswith("my-run: epoch 1/1 batch 1/6 loss 0.")
    assert all(word in lines[0] for word in ("accuracy", "retention 1.000"))
    assert re.search(r"\(\d+\.\d steps/s, at most \d+ s left\)$", lines[0])
    assert lines[5].endswith(", at most 0 s left)")
    assert lines[-1].startswith("my-run: epoch 1/1 ")
    assert "val/accuracy 0." in lines[-1]


def test_it_can_be_silenced(tmp_path, capsys):
    lines = ProgressLines(every_s=0.0)
    lines.disable()
    fit(tmp_path, lines, max_epochs=1)
    assert capsys.readouterr().out == ""


def test_a_terminal_shows_a_bar(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert isinstance(progress_bar(every_s=1.0), RunBar)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    assert isinstance(progress_bar(every_s=1.0), ProgressLines)


def test_the_bar_names_the_run_and_the_time_left(tmp_path, capsys):
    fit(tmp_path / "my-run", RunBar(), max_epochs=2)
    said = "".join(capsys.readouterr())
    assert "my-run epoch 1/2: " in said and "my-run epoch 2/2: " in said
    assert "at most left=0 s" in said and "train/loss=" in said


def test_the_time_left_follows_from_the_steps_since_the_start(monkeypatch):
    clock = iter([100.0, 130.0, 190.0])
    monkeypatch.setattr("eat.training.progress.time.monotonic", clock.__next__)
    left = TimeLeft()
    left.start(10)  # resumed at step 10
    assert left(10, 100) == "-"
    assert left(40, 100) == "1 min", "60 steps at one a second"
    assert left(100, 100) == "0 s"
    assert left(100, float("inf")) == "-"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.2, "59 s"), (59.8, "1 min"), (61.0, "1 min"), (3599.0, "1 h 0 min"), (11100.0, "3 h 5 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
