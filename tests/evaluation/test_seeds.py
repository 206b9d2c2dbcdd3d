"""Means over seeds, worked by hand."""

import pytest

from eat.evaluation.between_runs.seeds import averaged, group_names, group_seeds, missing_seeds, tell_apart
from eat.evaluation.between_runs.sound import Reported
from eat.evaluation.report.table import make_row

VARYING = ("pruner", "seed")


class Run:
    """What is read of a run here."""

    def __init__(self, seed, pruner, lr, teacher):
        self.config = {"seed": seed, "pruner": {"name": pruner}, "optimizer": {"lr": lr}}
        self.config |= {"objective": {"teacher": teacher}} if teacher else {}


@pytest.fixture
def report(tmp_path, monkeypatch):
    monkeypatch.setattr(Reported, "__post_init__", lambda _: None, raising=False)

    def make(seed, value, pruner="none", ms=None, lr=1e-3, tau=None, teacher=None):
        row = make_row(task="sst2", split="validation", exit="never", pruner=pruner, seed=seed, value=value)
        row |= {"threshold": tau}
        own = {1: row | {"batch_size": 1, "latency_ms_p50": ms}}
        return Reported.__new__(Reported), Run(seed, pruner, lr, teacher), own, tmp_path

    def build(*args, **kwargs):
        made, run, own, folder = make(*args, **kwargs)
        for name, value in {"folder": folder, "run": run, "frontier": [], "own": own, "temperatures": "None"}.items():
            object.__setattr__(made, name, value)
        return made

    return build


def test_mean_and_sample_deviation(report):
    (group,) = group_seeds([report(0, 0.8, ms=2.0), report(1, 0.9, ms=4.0)])
    cells = averaged(group)
    assert cells[0] == "0.8500 ± 0.0707"
    assert cells[6] == "3.00 ± 1.41"
    assert cells[1] == "-", "nothing was compared"


def test_configurations_and_operating_points_stay_apart(report):
    reports = [report(0, 0.8), report(1, 0.9), report(0, 0.5, pruner="random"), report(1, 0.7, tau=0.9)]
    groups = group_seeds(reports)
    assert [len(group) for group in groups] == [2, 1, 1]
    assert group_names(groups, VARYING) == ["pruner none", "pruner random", "pruner none"]


def test_configurations_that_no_column_tells_apart_are_named_by_their_settings(report):
    groups = group_seeds([report(0, 0.8), report(1, 0.9), report(0, 0.7, lr=1e-2)])
    assert group_names(groups, VARYING) == ["optimizer.lr 0.001", "optimizer.lr 0.01"]


def test_settings_are_named_only_where_columns_leave_configurations_alike(report):
    """What a column says already, pruner.name, is not said again; nor what an unlike configuration lacks."""
    reports = [report(0, 0.8), report(0, 0.7, lr=1e-2), report(0, 0.6, pruner="random", teacher="runs/dense")]
    assert group_names(group_seeds(reports), VARYING) == [
        "pruner none, optimizer.lr 0.001",
        "pruner none, optimizer.lr 0.01",
        "pruner random, optimizer.lr 0.001",
    ]


def test_runs_of_several_seeds_are_told_apart_as_their_configurations_are(report):
    runs = {f"run{i}": report(seed, 0.8, lr=lr) for i, (seed, lr) in enumerate([(0, 1e-3), (1, 1e-3), (0, 1e-2)])}
    assert tell_apart(runs, VARYING) == {
        "run0": "seed 0, optimizer.lr 0.001",
        "run1": "seed 1, optimizer.lr 0.001",
        "run2": "seed 0, optimizer.lr 0.01",
    }


def test_runs_that_differ_in_which_seed_of_the_teacher_taught_them_are_one_row(report):
    reports = [report(seed, 0.8, teacher=f"runs/dense-seed{seed}") for seed in (0, 1)]
    assert [len(group) for group in group_seeds([*reports, report(2, 0.9)])] == [2, 1]


def test_missing_seeds_are_named(report):
    groups = group_seeds([report(0, 0.8), report(1, 0.9), report(2, 0.9), report(1, 0.5, pruner="random")])
    assert missing_seeds(groups, group_names(groups, VARYING)) == [
        "missing: seed 0, 2 of pruner random; only 1 of 0, 1, 2 is there"
    ]
    assert missing_seeds(groups[:1], ["one"]) == []
