"""The metrics file outlives an interruption."""

import csv

import pytest

from eat.training import loggers
from eat.training.loggers import MetricsCsv, tensorboard_logger, wandb_logger


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


@pytest.fixture
def offline(monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


def wandb_runs(folder):
    return sorted(path.name.rpartition("-")[2] for path in (folder / "wandb").glob("offline-run-*"))


def test_each_training_is_a_wandb_run_of_its_own_under_its_folders_name(tmp_path, offline):
    for name in ("one", "two"):
        logger = wandb_logger(tmp_path / name, project="eat", name=None)
        assert not (tmp_path / name).exists(), "nothing is written before the training"
        logger.log_hyperparams({"optimizer": {"lr": 0.5}})
        assert (logger.experiment.name, logger.experiment.config["optimizer"]) == (name, {"lr": 0.5})
        logger.finalize("success")
    assert len({*wandb_runs(tmp_path / "one"), *wandb_runs(tmp_path / "two")}) == 2


def test_a_continued_training_is_the_same_wandb_run_with_what_came_before(tmp_path, offline, monkeypatch):
    wandb_logger(tmp_path, project="eat", name=None).finalize("failed")  # before anything was asked of it
    first = wandb_logger(tmp_path, project="eat", name=None)
    before = first.experiment.id
    first.finalize("failed")
    rows = MetricsCsv(tmp_path)
    for step in (1, 5, 9):
        rows.log_metrics({"train/loss": step / 2}, step=step)
    rows.save()
    second = wandb_logger(tmp_path, project="eat", name=None)
    assert second.experiment.id == before
    logged = []
    monkeypatch.setattr(second, "log_metrics", lambda metrics, step: logged.append((step, metrics)))
    second.resume(step=9)
    second.finalize("success")
    assert logged == [(1, {"train/loss": 0.5}), (5, {"train/loss": 2.5})]
    assert wandb_runs(tmp_path) == [before]
    assert len(list((tmp_path / "wandb" / "earlier").iterdir())) == 1


@pytest.mark.parametrize("make", [tensorboard_logger, lambda folder: wandb_logger(folder, project="eat", name=None)])
def test_a_logger_that_is_not_installed_is_named(tmp_path, monkeypatch, make):
    monkeypatch.setattr(loggers, "find_spec", lambda package: None)
    with pytest.raises(ValueError, match=r"logger: expected one whose package is installed, got (tensorboard|wandb)"):
        make(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"step,loss\n\xff,1\n", "is no readable CSV"),
        (b"stp,loss\n1,0.5\n", "one of them 'step'"),
        (b"step,loss,loss\n1,0.5,0.4\n", "columns of different names"),
        (b"step,loss\n,0.5\n", "row 1: expected a step and numbers"),
        (b"step,loss\n1,0.5\n2,abc\n", "row 2: expected a step and numbers"),
        (b"step,loss\n1,0.5,7\n", "row 1: expected 2 cells, got 3"),
        (b"", "one of them 'step'"),
    ],
)
def test_a_damaged_file_is_refused_in_a_line(tmp_path, content, message):
    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"metrics\.csv.*{message}.*; remove it") as caught:
        MetricsCsv(tmp_path).resume(3)
    assert "\n" not in str(caught.value)
