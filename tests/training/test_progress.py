"""Lines for log files say where the training is."""

import sys

from lightning.pytorch.callbacks import TQDMProgressBar

from eat.training.progress import ProgressLines, progress_bar
from tests.training.small import fit


def test_lines_name_epoch_batch_loss_accuracy_and_retention(tmp_path, capsys):
    fit(tmp_path, ProgressLines(every_s=0.0), max_epochs=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert lines[0].startswith("epoch 1/1 batch 1/6 loss 0.")
    assert all(word in lines[0] for word in ("accuracy", "retention 1.000", "steps/s"))
    assert lines[-1].startswith("epoch 1/1 ")
    assert "val/accuracy 0." in lines[-1]


def test_it_can_be_silenced(tmp_path, capsys):
    lines = ProgressLines(every_s=0.0)
    lines.disable()
    fit(tmp_path, lines, max_epochs=1)
    assert capsys.readouterr().out == ""


def test_a_terminal_shows_a_bar(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert isinstance(progress_bar(every_s=1.0), TQDMProgressBar)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    assert isinstance(progress_bar(every_s=1.0), ProgressLines)
