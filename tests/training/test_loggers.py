"""The metrics file outlives an interruption."""

import csv

import pytest

from eat.training.loggers import MetricsCsv, wandb_logger


def rows(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_rows_are_written_by_step_with_empty_cells_where_nothing_was_logged(tmp_path):
    logger = MetricsCsv(tmp_path)
    logger.log_metrics({"train/loss": 0.5}, step=3)
    logger.log_metrics({"val/accuracy": 0.75}, step=3)
    logger.log_metrics({"train/loss": 0.25}, step=7)
    logger.save()
    assert rows(tmp_path / "metrics.csv") == [
        {"step": "3", "train/loss": "0.5", "val/accuracy": "0.75"},
        {"step": "7", "train/loss": "0.25", "val/accuracy": ""},
    ]


def test_a_resumed_training_keeps_the_rows_before_its_checkpoint(tmp_path):
    first = MetricsCsv(tmp_path)
    for step in (1, 5, 9):
        first.log_metrics({"train/loss": step}, step=step)
    first.finalize("failed")
    second = MetricsCsv(tmp_path)
    second.resume(step=5)
    second.log_metrics({"train/loss": 50.0}, step=5)
    second.save()
    assert [(r["step"], r["train/loss"]) for r in rows(tmp_path / "metrics.csv")] == [("1", "1"), ("5", "50")]


def test_wandb_is_offline_without_a_key(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert wandb_logger(tmp_path, project="eat", name=None)._offline is True
