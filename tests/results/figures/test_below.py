"""The command finds finished runs, draws them, and says in a line what is wrong."""

import logging

import pytest
from hydra import compose, initialize_config_dir

from eat.cli import figures
from eat.cli.compose import CONF
from eat.results.figures.below import draw_below
from tests.made.runs import least_config
from tests.results.made import write_logged


def made_folder(tmp_path, *names):
    for name in names:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.yaml").write_text(least_config())
    return tmp_path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"results": "nowhere"}, "results: no folder nowhere; "),
        ({"results": ["."], "curves": "none.csv"}, "curves: no file none.csv; `eat benchmark"),
        ({"results": "empty"}, "results: no run below empty, which is a folder with config.yaml"),
        ({"results": []}, "results: expected a folder of finished runs, or several, got none"),
        ({"results": 3}, "results: expected a list, such as"),
        ({"results": [3]}, "results: expected a folder, got 3"),
        ({"results": ".", "folder": ""}, "folder: expected a folder, got ''"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(made_folder(tmp_path, "run"))
    (tmp_path / "empty").mkdir()
    draw = getattr(draw_below, "__wrapped__", draw_below)  # the message is ours, not that of checked annotations
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        draw(**options)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_the_command_draws_what_is_there_and_says_what_is_not(tmp_path, monkeypatch, caplog):
    drawn = []
    monkeypatch.setattr("eat.results.figures.draw_suite", lambda suite, folder, curves: drawn.append(folder) or [])
    runs = tmp_path / "runs"
    write_logged(runs / "deep" / "traced")
    write_logged(runs / "old", seed=1)
    (runs / "old" / "superseded.json").write_text('{"by": "another"}')
    made_folder(runs, "unfinished", ".hidden/c")
    overrides = [f"results={runs}", f"folder={tmp_path / 'out'}"]
    with initialize_config_dir(CONF, version_base="1.3"), caplog.at_level(logging.INFO):
        old, unfinished = figures.main.__wrapped__(compose("figures", overrides))
    assert old == "left out: old: superseded by another"
    assert unfinished.startswith("left out: unfinished: ") and "trace/" in unfinished
    assert drawn == [tmp_path / "out" / "made_up-tiny-smoke-holdout_mine"]
    assert old in caplog.text


def test_without_runs_the_command_says_what_to_type():
    with initialize_config_dir(CONF, version_base="1.3"):
        config = compose("figures")
    with pytest.raises(ValueError, match=r"^results: expected a folder of finished runs, got none; "):
        figures.main.__wrapped__(config)
