"""Locks of run folders, between real processes."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from eat.cli import train
from eat.runs.folder import RunFolder
from eat.runs.lock import locked, locked_together
from tests.made.runs import write_run

ROOT = Path(__file__).parents[2]
HOLD = """
import runpy, sys, time
from pathlib import Path
locked = runpy.run_path("eat/runs/lock.py")["locked"]  # without the package, whose import takes seconds
with locked(Path(sys.argv[1]), wait=False):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""
EVALUATE = """
import logging, sys
from eat.evaluation import evaluate_run
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
evaluate_run(sys.argv[1], stages=["quality"], device="cpu", fresh=True)
"""


@contextmanager
def held(folder: Path, seconds: float = 60.0) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold a folder."""
    command = [sys.executable, "-c", HOLD, str(folder), str(seconds)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_folder_that_another_process_holds_is_not_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = ["task=demo", "backbone=tiny", f"paths.runs={tmp_path}", "seed=7", "fresh=true"]
    chosen: list[RunFolder] = []
    choose = train.choose_run
    monkeypatch.setattr(train, "choose_run", lambda config: chosen.append(choose(config)) or chosen[-1])
    monkeypatch.setattr(train, "train", lambda *_: pytest.fail("it trained"))
    monkeypatch.setattr(train, "begin", lambda run, **_: (_ for _ in ()).throw(StopIteration(run)))
    monkeypatch.setattr(sys, "argv", ["train.py", *overrides])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises((StopIteration, RuntimeError)):
        train.main()  # says which folder it is
    folder = chosen[0].path
    (folder / "checkpoints").mkdir(parents=True)
    with held(folder), pytest.raises(RuntimeError, match=f"another process is training in {folder}, or evaluates it"):
        train.main()
    assert [path.name for path in folder.parent.iterdir() if not path.name.startswith(".")] == [folder.name]


def test_the_lock_stays_where_the_folder_moves(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    with run.locked():
        assert run.set_aside() == tmp_path / "run.old-1"
        with pytest.raises(RuntimeError, match="another process"), run.locked():
            pass


def test_an_evaluation_waits_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "run").mkdir()
    caplog.set_level(logging.INFO)
    with held(tmp_path / "run", 0.5) as process, locked(tmp_path / "run", wait=True):
        assert process.wait() == 0, "it was done before"
    assert "waiting until it is done" in caplog.text


def test_folders_held_together_are_taken_once_each_in_one_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    acquire = FileLock.acquire
    monkeypatch.setattr(
        FileLock, "acquire", lambda lock, **how: (taken.append(lock.lock_file), acquire(lock, **how))[1]
    )
    with locked_together([tmp_path / "b", tmp_path / "a", tmp_path / "x" / ".." / "b"]):
        assert [Path(file).name for file in taken] == [".a.lock", ".b.lock"]
        for name in "ab":
            with pytest.raises(RuntimeError, match="another process"), locked(tmp_path / name, wait=False):
                pass
    with locked(tmp_path / "a", wait=False), locked(tmp_path / "b", wait=False):
        pass


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with held(tmp_path / "run") as process:
        process.kill()
        process.wait()
        with locked(tmp_path / "run", wait=False):
            pass


@pytest.mark.slow
def test_three_evaluations_at_once_end_well(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    command = [sys.executable, "-c", EVALUATE, str(run)]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(3)
    ]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert (run / "report" / "summary.md").is_file()
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".partial", ".lock")]


def test_a_folder_that_one_may_only_read_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    readable = {tmp_path}
    acquire = FileLock.acquire

    def refuse(lock: FileLock, *args: object, **kwargs: object) -> object:
        if Path(lock.lock_file).parent in readable:
            raise PermissionError(13, "Permission denied", lock.lock_file)
        return acquire(lock, *args, **kwargs)

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with locked(tmp_path / "run", wait=False):
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"], "in it, where not beside it"
    readable.add(tmp_path / "run")
    with locked(tmp_path / "run", wait=True):
        pass
    with pytest.raises(PermissionError), locked(tmp_path / "run", wait=False):
        pass
