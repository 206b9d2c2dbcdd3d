"""A user's error ends in one line and exit code 1; a fault of the program keeps its traceback."""

import sys
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig

import evaluate as evaluate_door
import train as train_door
from eat.checks import whole_number
from eat.cli import benchmark, evaluate, train
from eat.cli.command import command
from eat.cli.messages import is_users
from eat.cli.settings import choices


def call(main: Any, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> Any:
    """Call a command as from the command line, and return the code that it ends with."""
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "argv", ["eat", *overrides])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


@pytest.mark.parametrize(
    ("main", "overrides", "said"),
    [
        (train.main, ["lr=abc"], "lr: no such key of this command (did you mean 'optimizer.lr'?); see --help"),
        (train.main, ["sead=1"], "sead: no such key of this command (did you mean 'seed'?); see --help"),
        (train.main, ["pruner.ratoi=1"], "pruner.ratoi: no such key of this command (did you mean 'pruner.ratio'?)"),
        (train.main, ["trainer.zzz=1"], "trainer.zzz: no such key of this command; see --help"),
        (train.main, ["~foo"], "foo: no such key of this command"),
        (
            train.main,
            ["pruner=l2_nrom"],
            "pruner: expected one of ['attention_received', 'l2_norm', 'none', 'random'], ",
        ),
        (train.main, ["exit=[[1]]"], "exit: expected one of ['agreement', "),
        (train.main, ["callbacks=${nope}"], "callbacks: expected one of ['default'], got ${nope}; leave it out"),
        (train.main, ["callbacks=inf"], "callbacks: expected one of ['default'], got inf; leave it out"),
        (train.main, ["budget=[laptp]"], "budget: expected one of ['demo', 'laptop', 'paper', "),
        (train.main, ["~attention"], "attention: expected a value, got none; leave it out for the default"),
        (train.main, ["~seed"], "seed: expected a value, got none"),
        (train.main, ["~data.batch_size"], "data.batch_size: expected a value, got none; leave it out for the default"),
        (train.main, ["holdout=../x"], "holdout: expected one of ['none', 'small', 'standard'], got '../x'"),
        (train.main, ["experiment=ablation/none"], "experiment: expected one of ['ablation/"),
        (train.main, ["budget.name=[]"], "budget.name: expected a word, which the run folder's name has, got []"),
        (train.main, ["budget.name=../x"], "budget.name: expected a word, which the run folder's name has, got '../x'"),
        (benchmark.main, ["+warmp=1"], "warmp: expected one of "),
        (benchmark.main, ["~folder"], "folder: expected a folder, got None"),
        (benchmark.main, ["shapes=tiny"], "shapes: expected a list, such as [tiny], got 'tiny'"),
        (evaluate.main, ["run=x", "+data.trian=y"], "data.trian: expected one of "),
        (train.main, ["exit=null"], "exit: expected one of ['agreement', "),
        (train.main, ["head_depths=[1"], "head_depths=[1: expected key=value"),
        (train.main, ["seed"], "seed: expected key=value"),
        (train.main, ["seed=1,2"], "Ambiguous value for argument 'seed=1,2'"),
        (train.main, ["seed=${nokey}"], "seed: Interpolation key 'nokey' not found"),
        (train.main, ["task=file"], "data.train: expected a value, got none; give it as data.train=..."),
        (train.main, ["objective=distill"], "objective.teacher: expected a value, got none"),
        (train.main, ["seed=abc"], "seed: expected an integer of 0 or more, got 'abc'"),
        (evaluate.main, ["run=nowhere"], "run: no folder nowhere"),
        (evaluate.main, ["run=x", "backbone=tiny"], "backbone: no such key of this command"),
        (evaluate.main, ["run=x", "plan.batch_size=8", "stages=[quality]"], "plan.batch_size: got 8, but plan is not "),
        (evaluate.main, ["run=x", "thresholds=[0.5]", "stages=[quality]"], "thresholds: expected sweep or certify "),
        (evaluate.main, ["run=x", "stages=[]"], "stages: expected some of"),
    ],
)
def test_a_users_error_is_one_line(
    main: Any, overrides: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(main, monkeypatch, *overrides) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"error: {said}"), lines
    assert not list(tmp_path.iterdir()), "no folder"


def test_a_fault_keeps_its_traceback_and_full_error_shows_a_users(monkeypatch: pytest.MonkeyPatch) -> None:
    @command("evaluate")
    def fails(config: DictConfig) -> None:
        {}["missing"]

    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "argv", ["eat", "run=x", "hydra/callbacks=null"][:2])
    with pytest.raises(KeyError, match="missing"):
        fails()
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["eat", "run=nowhere"])
    with pytest.raises(FileNotFoundError, match="run: no folder nowhere"):
        evaluate.main()


def raised(function: Any) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 which, the test says
        function()
    return caught.value


def test_what_our_code_says_is_the_users_and_what_python_says_is_a_fault() -> None:
    assert is_users(raised(lambda: whole_number("seed", -1)))
    assert is_users(FileNotFoundError("x"))
    assert not is_users(raised(lambda: int("abc")))
    assert not is_users(raised(lambda: np.zeros(3).reshape(2, 2)))
    assert not is_users(raised(lambda: None.x))  # type: ignore[attr-defined]


def test_help_lists_only_the_groups_of_a_command() -> None:
    assert [line.partition(":")[0] for line in choices("evaluate")] == ["benchmark", "exit", "pruner"]
    assert choices("benchmark") == ["none"]
    assert "benchmark@evaluation.benchmark: default, paper" in choices("train")


def test_the_doors_are_the_commands() -> None:
    assert evaluate_door.main is evaluate.main
    assert train_door.main is train.main


def test_a_reader_that_has_enough_is_nobodys_fault():
    assert not is_users(BrokenPipeError(32, "Broken pipe")) and is_users(OSError(28, "No space left on device"))
