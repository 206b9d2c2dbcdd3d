"""The prepared GPU run: its plan, its time limit, and that the same call goes on; without a GPU, one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from eat.cli.compose import CONF
from tests import gpu_run
from tests.gpu_run import SECONDS, Step, plan, run

COUNTING = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
done = pathlib.Path(sys.argv[1])
for step in range(int(done.read_text()) if done.exists() else 0, int(sys.argv[2])):
    time.sleep(0.2)
    done.write_text(str(step + 1))
"""


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_run, "GRACE", 1.0)


def step(folder: Path, name: str, steps: int, *, goes_on: bool = True) -> Step:
    """A command that takes a fifth of a second a step, and continues."""
    return Step(name, (sys.executable, "-c", COUNTING, str(folder / name), str(steps)), goes_on)


def test_calls_of_a_limited_time_end_with_everything_done_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [step(tmp_path, "short", 1), step(tmp_path, "long", 15), Step("last", (sys.executable, "-c", "print('x')"))]
    codes = []
    while not codes or codes[-1] == 2:
        codes.append(run(steps, 3.0, tmp_path / "notes", environment=os.environ))
        assert len(codes) < 9
    assert len(codes) > 1 and codes[-1] == 0
    assert (tmp_path / "long").read_text() == "15"
    said = capsys.readouterr().out
    assert "long: waiting\nleft: long, last; the same command goes on\n" in said
    assert said.count("short: done") == said.count("last: done") == 1
    assert said.strip().splitlines()[-1].startswith("all done")
    assert run(steps, 3.0, tmp_path / "notes", environment=os.environ) == 0
    assert (tmp_path / "notes" / "last.log").read_text() == "x\n", "not done again"
    other = [*steps[:2], Step("last", (sys.executable, "-c", "print('y')"))]
    assert run(other, 3.0, tmp_path / "notes", environment=os.environ) == 0
    assert (tmp_path / "notes" / "last.log").read_text() == "x\ny\n", "another command is another step"


def test_a_failed_step_holds_nothing_up_and_is_tried_again_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = Step("failing", (sys.executable, "-c", "raise SystemExit(5)"))
    steps = [failing, step(tmp_path, "good", 1)]
    assert run(steps, 5.0, tmp_path / "notes", environment=os.environ) == 1
    said = capsys.readouterr().out
    assert "failing: failed\n" in said and "good: done\n" in said and "failed: failing; see " in said
    mended = [Step("failing", (sys.executable, "-c", "")), steps[1]]
    assert run(mended, 5.0, tmp_path / "notes", environment=os.environ) == 0


def test_a_step_that_cannot_go_on_and_takes_longer_than_a_call_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [step(tmp_path, "endless", 10_000, goes_on=False)]
    assert run(steps, 2.5, tmp_path / "notes", environment=os.environ) == 1
    assert "endless: longer than the 2.5 s of a call" in capsys.readouterr().out


def test_the_plan_names_what_is_there() -> None:
    steps = plan("sst2")
    assert [step.name for step in steps][:2] == ["tests", "benchmark-serving"]
    trainings = [step for step in steps if step.goes_on]
    assert [step.name for step in trainings] == ["ablation-sst2", "ablation-sst2-seeds"]
    typed = {argument.partition("=")[0]: argument.partition("=")[2] for argument in trainings[1].command}
    for group, choice in (("budget", "paper"), ("trainer", "gpu"), ("holdout", "none"), ("task", "sst2")):
        assert typed[group] == choice and (Path(CONF) / group / f"{choice}.yaml").is_file()
    for experiment in typed["experiment"].split(","):
        assert (Path(CONF) / "experiment" / f"{experiment}.yaml").is_file()


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu_run"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: make gpu needs a CUDA device") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("seconds=0", "seconds: expected an integer of 60 or more, got 0"),
        ("task=sst3", "task: expected one of .*did you mean 'sst2'"),
        ("time=3", r"time: expected one of \['seconds', 'task'\], got 'time'"),
    ],
)
def test_arguments_are_checked(argument: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gpu_run.read_options([argument])
    assert gpu_run.read_options([]) == (SECONDS, "sst2")
