"""Trainings in several processes that the command itself starts."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from eat.cli.processes import train_in_processes
from eat.runs.folder import RunFolder
from eat.training.distributed import process_number

ROOT = Path(__file__).parents[2]
TINY = ["backbone=tiny", "backbone.dim=16", "backbone.num_layers=2", "backbone.intermediate_size=32", "pruner=none"]
TINY += ["backbone.vocab_size=100", "head_depths=[1]", "budget=smoke", "task=file", "data.train=train.csv"]
TINY += ["data.threshold_examples=11", "data.certification_examples=0", "data.cache_dir=cache", "trainer=cpu"]


def fail_in_the_second(config, run):
    if process_number() == 1:
        raise ValueError(f"{run.path}: expected {config.expected}, got something else")
    time.sleep(60)


def test_what_fails_in_one_process_ends_the_others_with_its_message(tmp_path, monkeypatch):
    monkeypatch.setattr("eat.cli.processes.GRACE_S", 0.5)
    with pytest.raises(RuntimeError, match=r"run: expected this, got something else$"):
        train_in_processes(fail_in_the_second, OmegaConf.create({"expected": "this"}), RunFolder(tmp_path / "run"), 2)


def test_a_command_trains_on_two_devices_and_one_process_writes(tmp_path):
    lines = [f"a {'good' if i % 2 else 'bad'} film number {i},{i % 2}\n" for i in range(80)]
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(lines))
    command = [sys.executable, str(ROOT / "train.py"), *TINY, "trainer.devices=2", "evaluation.stages=[quality]"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("train: rows") == 1  # of the first process alone
    assert done.stdout.count("report: ") == 1
    (folder,) = (tmp_path / "runs" / "file").glob("*/")
    assert json.loads((folder / "environment.json").read_text())["num_devices"] == 2
    assert yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["devices"] == 2
    assert RunFolder(folder).is_finished
    assert (folder / "metrics.csv").is_file() and (folder / "report").is_dir()
    assert not list(folder.parent.glob(".*.lock"))
