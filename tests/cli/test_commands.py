"""The command `eat` finds its commands, and says so where there is none of that name."""

import sys

import pytest

import eat
from eat.cli import benchmark
from eat.cli.main import COMMANDS, main


def run_eat(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["eat", *arguments])
    main()


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_the_commands(monkeypatch, capsys, arguments):
    run_eat(monkeypatch, *arguments)
    said = capsys.readouterr().out
    assert all(f"  {command} " in said for command in COMMANDS)


def test_version(monkeypatch, capsys):
    run_eat(monkeypatch, "--version")
    assert capsys.readouterr().out == f"eat {eat.__version__}\n"


def test_an_unknown_command_is_one_clear_line(monkeypatch):
    with pytest.raises(SystemExit) as stopped:
        run_eat(monkeypatch, "trian", "task=sst2")
    said = "eat: expected one of train, evaluate, explain, benchmark, got 'trian' (did you mean 'train'?)"
    assert stopped.value.code == f"{said}; eat --help says more"


def test_a_command_gets_the_rest_of_the_line_and_its_help_says_what_can_be_set(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(benchmark, "main", lambda: seen.append(sys.argv[1:]))
    run_eat(monkeypatch, "benchmark", "seconds=3", "parts=[depth]")
    assert seen == [["seconds=3", "parts=[depth]"]]
    monkeypatch.undo()
    with pytest.raises(SystemExit) as stopped:
        run_eat(monkeypatch, "evaluate", "--help")
    assert not stopped.value.code
    said = capsys.readouterr().out
    assert "plan.batch_size (1): Texts in a call." in said
    assert "benchmark: default, paper" in said
