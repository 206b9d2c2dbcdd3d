"""A run is continued and evaluated on the data that it was trained on, wherever they lie, and on no others."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from eat.evaluation import evaluate_run
from eat.runs.data import FRESH, check_data, load_data
from eat.runs.finished import FinishedRun
from eat.runs.saved import text_of
from eat.traces.run_traces import read_current
from tests.made.runs import write_run


def note(run: Path, **facts: object) -> None:
    path = run / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run that noted its data, which lie beside it."""
    folder = write_run(tmp_path / "run")
    for name in ("train.csv", "validation.csv"):
        (folder / name).rename(tmp_path / name)
    config = (folder / "config.yaml").read_text().replace(f"{folder}/", f"{tmp_path}/")
    (folder / "config.yaml").write_text(config)
    note(folder, data=load_data(FinishedRun(folder)).fingerprint(), classes=["no", "yes"])
    return folder


def swap_labels(file: Path) -> None:
    file.write_text(file.read_text().replace(",no\n", ",x\n").replace(",yes\n", ",no\n").replace(",x\n", ",yes\n"))


def add_rows(file: Path) -> None:
    file.write_text(file.read_text() + "".join(f"soup {number} is very good,yes\n" for number in range(20)))


def drop_a_row(file: Path) -> None:
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


def rename_classes(file: Path) -> None:
    for path in (file, file.with_name("validation.csv")):
        path.write_text(path.read_text().replace(",no\n", ",nope\n"))


CHANGES = [swap_labels, add_rows, drop_a_row, rename_classes]


@pytest.mark.parametrize("change", CHANGES)
def test_other_data_are_refused_before_anything_is_overwritten(run: Path, change: Callable[[Path], None]) -> None:
    (run / "report").mkdir()
    (run / "report" / "summary.md").write_text("the good report")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    change(run.parent / "train.csv")
    for options in ({"stages": ["quality"], "fresh": True}, {"stages": ["calibrate", "benchmark"]}):
        with pytest.raises(ValueError, match=r"data: .*run was trained on .* now .*data\.train=") as caught:
            evaluate_run(run, device="cpu", **options)
        assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_report_from_traces_is_about_data_that_are_still_there_or_says_so(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evaluate_run(run, device="cpu", stages=["quality"])
    report = (run / "report" / "summary.md").read_bytes()
    for places in ({"data_train": "nowhere.csv"}, {"data_cache_dir": run.parent, "data_root": run.parent}):
        with pytest.raises((FileNotFoundError, ValueError), match=r"data\.(train|root): "):
            evaluate_run(run, device="cpu", stages=["quality"], **places)
    train, rows = run.parent / "train.csv", (run.parent / "train.csv").read_text()
    swap_labels(train)
    with pytest.raises(ValueError, match=r"data: .*run was trained on .* now "):
        evaluate_run(run, device="cpu", stages=["quality"])
    assert (run / "report" / "summary.md").read_bytes() == report
    train.unlink()
    evaluate_run(run, device="cpu", stages=["quality"])
    assert "are not compared with what is there now" in caplog.text
    train.write_text(rows)
    evaluate_run(run, device="cpu", stages=["quality"])


@pytest.mark.parametrize("change", CHANGES)
def test_a_finished_training_notices_other_data(run: Path, change: Callable[[Path], None]) -> None:
    config = FinishedRun(run).config
    check_data(run, config)
    change(run.parent / "train.csv")
    with pytest.raises(ValueError, match=r"trained on .* now .*fresh=true"):
        check_data(run, config)
    assert "fresh=true" in FRESH


def test_data_that_are_gone_are_said(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    (run.parent / "train.csv").unlink()
    check_data(run, FinishedRun(run).config)
    assert "are not compared with what is there now: data.train: no file" in caplog.text


def test_a_run_without_a_note_is_warned_of(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = run / "environment.json"
    path.write_text("{}")
    load_data(FinishedRun(run))
    assert "noted no fingerprint of its data" in caplog.text


def test_files_that_moved_are_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    names = ("train", "validation")
    moved = {name: shutil.move(tmp_path / f"{name}.csv", tmp_path / "new" / f"{name}.csv") for name in names}
    with pytest.raises(FileNotFoundError, match=r"data.train: no file .* say where .*, files by data.train="):
        load_data(FinishedRun(run))
    places = {"train": Path(moved["train"]).name, "validation": moved["validation"], "test": None, "root": None}
    assert len(load_data(FinishedRun(run), places).splits) == 4
    with pytest.raises(ValueError, match="was trained on other data"):
        load_data(FinishedRun(run), {"train": moved["validation"], "validation": moved["train"]})
    with pytest.raises(ValueError, match=r"data\.root: .* is of a file; say where it lies with data\.train="):
        load_data(FinishedRun(run), {"root": tmp_path})


def test_files_of_a_public_task_are_placed_by_its_root(run: Path) -> None:
    finished = FinishedRun(run)
    finished.config["task"] = {"name": "sst2"}
    with pytest.raises(ValueError, match=r"data\.train: .* is of task sst2, which data\.root= places"):
        load_data(finished, {"train": "x.csv"})


def test_another_file_of_the_same_name_is_not_taken(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(tmp_path / "train.csv", tmp_path / "elsewhere")
    swap_labels(tmp_path / "elsewhere" / "train.csv")
    monkeypatch.chdir(tmp_path / "elsewhere")
    caplog.set_level(logging.INFO)
    load_data(FinishedRun(run))
    assert "and not the train.csv of the current folder" in caplog.text


def test_paths_are_kept_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").touch()
    config = {
        "task": {"name": "file", "train": "mine.csv", "validation": None},
        "data": {"root": None, "cache_dir": "cache", "train": "mine.csv"},
        "backbone": {"classifier": "some/hub-name"},
        "retrofit": "some/hub-name",
        "paths": {"runs": "runs"},
    }
    assert text_of(config).splitlines() == [
        *("task:", "  name: file", f"  train: {tmp_path}/mine.csv", "  validation: null"),
        *("data:", "  root: null", "  cache_dir: null", f"  train: {tmp_path}/mine.csv"),
        *("backbone:", "  classifier: some/hub-name", "retrofit: some/hub-name"),
    ]


def test_traces_of_other_data_are_made_anew(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    evaluate_run(run, stages=["quality"], device="cpu")
    assert read_current(FinishedRun(run)) is not None
    noted = FinishedRun(run).environment()["data"]
    note(run, data="other")
    assert read_current(FinishedRun(run)) is None
    assert "answer other data than it was trained with; they are made anew" in caplog.text
    shutil.rmtree(run / "model")
    assert read_current(FinishedRun(run)) is not None
    assert "cannot be made anew without its weights" in caplog.text
    note(run, data=noted)


def test_a_run_that_moved_is_a_run(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate_run(run, stages=["quality"], device="cpu")
    moved = Path(shutil.move(run, tmp_path / "moved"))
    other = Path(shutil.copytree(moved, tmp_path / "other"))
    monkeypatch.chdir(moved)
    report = evaluate_run(".", stages=["quality"], device="cpu", baseline_run=other, fresh=True)
    assert report.folder.resolve() == moved / "report"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
