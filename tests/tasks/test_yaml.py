"""Every task has its YAML, and every YAML its task."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from eat.tasks import TASKS, build_task

FOLDER = Path(__file__).parents[2] / "conf" / "task"


def test_tasks_and_yaml_files_are_the_same() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(TASKS)


@pytest.mark.parametrize("name", sorted(set(TASKS) - {"file"}))
def test_every_yaml_builds_its_task(name: str) -> None:
    config = OmegaConf.load(FOLDER / f"{name}.yaml")
    task = build_task(OmegaConf.to_container(config.task, resolve=True))
    assert task.name == name
    assert task.num_labels >= 1
    assert config.data.max_length in (64, 256, 320, 512)


def test_the_file_task_takes_its_columns_from_data(tmp_path: Path) -> None:
    config = OmegaConf.load(FOLDER / "file.yaml")
    path = tmp_path / "mine.csv"
    path.write_text("body,class\nfine,good\nnot fine,bad\n")
    config.data.update(train=str(path), validation=str(path), text="body", label="class")
    task = build_task(OmegaConf.to_container(config.task, resolve=True))
    assert task.label_names == ("bad", "good")
    assert task.load()["train"]["text"][:] == ["fine", "not fine"]
