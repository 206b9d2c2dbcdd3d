"""A study goes on after a kill with what it would have asked at once, and several processes share it."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from eat.search.settings import SearchSettings
from eat.search.space import Choices, read_space
from eat.search.study import FILE, Study
from eat.search.value import Point, Value

pytest.importorskip("optuna", reason="needs optuna (pip install -e .[search])")

SPACE = {"pruner.ratio": {"low": 0.1, "high": 0.5}, "pruner.depths": {"choices": [[1], [2], [1, 2]]}}
KEYS = ("pruner.ratio", "pruner.depths")
ROOT = Path(__file__).parents[2]


def open_study(folder, start=None, **options):
    settings = SearchSettings("made_up", SPACE, **({"trials": 3} | options))
    return Study(folder, settings, read_space(SPACE, KEYS, counts_flops=True), start)


def worth(trial, labels="same"):
    """The more is pruned after layer 1, the worse and the cheaper."""
    ratio = float(trial.values["pruner.ratio"]) * (2 if trial.values["pruner.depths"] == "[1]" else 1)
    point = Point({"name": "never"}, 1 - ratio**2, 1 - ratio, 3.0)
    return Value(point, (point,), point, 100, labels)


def work(study, stop=1000):
    """Finish trials until none is left, or a number of them."""
    for _ in range(stop):
        with study.claimed() as trial:
            if trial is None:
                break
            study.complete(trial, worth(trial), Path("runs/x"))
    return [(trial.number, trial.values) for trial in study.trials()]


def test_a_study_that_is_stopped_goes_on_with_what_it_would_have_asked(tmp_path):
    whole = work(open_study(tmp_path / "whole", trials=12))  # the first ten are random
    assert len(whole) == len({str(values) for _, values in whole}) == 12
    work(open_study(tmp_path / "stopped", trials=12), stop=5)
    with pytest.raises(KeyboardInterrupt), open_study(tmp_path / "stopped", trials=12).claimed():
        raise KeyboardInterrupt
    assert work(open_study(tmp_path / "stopped", trials=12)) == whole
    assert work(open_study(tmp_path / "other", seed=1))[0] != whole[0]


def test_more_trials_go_on_with_the_same_study(tmp_path):
    first = work(open_study(tmp_path, trials=2))
    assert work(open_study(tmp_path, trials=3))[:2] == first
    assert len(open_study(tmp_path, trials=1).trials()) == 3


def test_the_first_trial_is_the_training_as_it_stands(tmp_path):
    study = open_study(tmp_path, start={"pruner.ratio": 0.3, "pruner.depths": [1, 2]})
    open_study(tmp_path, start={"pruner.ratio": 0.3, "pruner.depths": [1, 2]})  # which is asked for once
    (_, first), (_, second), *_ = work(study, stop=3)
    assert first == {"pruner.ratio": "0.3", "pruner.depths": "[1,2]"} != second


def test_two_that_share_a_study_never_have_the_same_trial(tmp_path):
    one, other = open_study(tmp_path, trials=3), open_study(tmp_path, trials=3)
    with one.claimed() as first, other.claimed() as second, one.claimed() as third, other.claimed() as fourth:
        assert [first.number, second.number, third.number, fourth] == [0, 1, 2, None]
        other.complete(second, worth(second), Path("runs/x"))
    with other.claimed() as again:
        assert (again.number, again.values) == (0, first.values)


def test_the_trial_of_a_killed_process_goes_on(tmp_path):
    script = f"""
        import os, signal
        from pathlib import Path
        from tests.search.test_study import open_study
        with open_study(Path({str(tmp_path)!r})).claimed() as trial:
            print(trial.values, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    run = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -9
    (trial,) = open_study(tmp_path).trials()
    assert (trial.number, trial.state, str(trial.values)) == (0, "running", done.stdout.strip())
    assert work(open_study(tmp_path))[0] == (0, trial.values)
    assert [trial.state for trial in open_study(tmp_path).trials()] == ["complete"] * 3


def test_a_trial_that_was_stopped_while_its_values_were_chosen_gets_the_others(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Choices, "suggest", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            open_study(tmp_path).claimed().__enter__()
    with open_study(tmp_path).claimed() as trial:
        assert (trial.number, list(trial.values)) == (0, list(SPACE))


def test_a_failed_trial_is_kept_with_its_reason_and_others_go_on(tmp_path):
    study = open_study(tmp_path, trials=2)
    with study.claimed() as trial:
        study.fail(trial, "no memory")
    work(study)
    assert [(t.state, t.error) for t in open_study(tmp_path).trials()] == [("failed", "no memory"), ("complete", None)]


def test_the_front_is_marked(tmp_path):
    study = open_study(tmp_path)
    work(study)
    complete = [(trial.value.chosen, trial.on_front) for trial in study.trials()]
    for point, on_front in complete:
        beaten = any(other.quality > point.quality and other.flops_ratio < point.flops_ratio for other, _ in complete)
        assert not (on_front and beaten)
    assert any(on_front for _, on_front in complete)


def test_other_examples_are_refused(tmp_path):
    study = open_study(tmp_path)
    work(study, stop=1)
    with study.claimed() as trial, pytest.raises(ValueError, match=r"other examples .* the data have changed; remove"):
        study.complete(trial, worth(trial, "others"), Path("runs/x"))


def test_a_damaged_study_is_named(tmp_path):
    work(open_study(tmp_path), stop=1)
    (tmp_path / FILE).write_bytes(b"SQLite format 3\0" + b"x" * 4096)
    with pytest.raises(ValueError, match=r"study.db is no study that can be read .*; remove it to begin anew"):
        open_study(tmp_path)


def test_without_optuna_the_way_to_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RuntimeError, match=r"optuna is not installed: pip install 'eat-transformers\[search\]'"):
        open_study(tmp_path)
