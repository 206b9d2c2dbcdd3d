"""Runs of one experiment are put together over seeds, and what must not be compared is refused."""

import dataclasses

import pytest

from eat.exits.points import OperatingPoint
from eat.results.figures.grouping import suites
from eat.results.figures.suite import Suite
from tests.made.evidence import make_evidence


def suite_of(*runs):
    (suite,) = suites(runs)
    return suite


def test_seeds_are_one_experiment_and_dense_and_static_ones_come_first():
    runs = [make_evidence("adaptive"), make_evidence("static"), make_evidence("dense"), make_evidence(seed=1)]
    suite = suite_of(*runs)
    assert {label: len(same) for label, same in suite.experiments.items()} == {"dense": 1, "static": 1, "adaptive": 2}
    assert list(suite.experiments) == ["dense", "static", "adaptive"]
    assert [suite.kind(same[0]) for same in suite.experiments.values()] == ["dense", "static", "adaptive"]
    assert suite.dense == "dense"
    assert suite.subject == "made_up validation (40 examples); tiny, budget smoke; 1 to 2 seeds"
    assert suite.name == "made_up-tiny-smoke"


def test_a_protocol_that_holds_nothing_out_is_named():
    suite = suite_of(make_evidence(config={"holdout": {"name": "none"}}))
    assert suite.name == "made_up-tiny-smoke-holdout_none"
    assert suite.subject.endswith("1 seed; holdout=none: thresholds chosen on validation")
    assert "holdout" not in suite_of(make_evidence(config={"holdout": {"name": "small"}})).subject


def test_a_subset_is_named():
    run = make_evidence()
    trace = dataclasses.replace(
        run.traces.reported, metadata=run.traces.reported.metadata | {"data": "subset 40 of 99"}
    )
    run = dataclasses.replace(run, traces=dataclasses.replace(run.traces, splits={"validation": trace}))
    assert "(40 examples, subset 40 of 99)" in suite_of(run).subject


def test_budgets_and_protocols_are_apart():
    runs = [
        make_evidence(),
        make_evidence(config={"budget": {"name": "paper"}}),
        make_evidence(config={"holdout": "x"}),
    ]
    assert len(list(suites(runs))) == 3


def test_teachers_of_different_seeds_are_one_experiment_and_another_threshold_is_another_one():
    taught = [make_evidence(seed=seed, config={"objective": {"teacher": f"runs/{seed}"}}) for seed in (0, 1)]
    assert len(suite_of(*taught).experiments) == 1
    other = make_evidence(seed=1, point=OperatingPoint.of({"name": "confidence", "threshold": 0.8}))
    assert len(suite_of(make_evidence(), other).experiments) == 2


def test_experiments_of_one_name_are_called_by_what_differs():
    names = ("tiny-full-l2_norm-smoke-seed0-0123abcd", "tiny-full-l2_norm-cls-smoke-seed0-4567abcd")
    runs = [make_evidence(name=name, config={"lr": i}) for i, name in enumerate(names)]
    assert list(suite_of(*runs).experiments) == ["adaptive", "cls"]


def test_a_seed_that_comes_twice_is_refused():
    with pytest.raises(ValueError, match=r"^runs: one and two are one experiment with seed 0; leave one of them out$"):
        suite_of(make_evidence(name="one"), make_evidence(name="two"), make_evidence(name="three"))


def test_other_examples_are_refused():
    run, other = make_evidence(name="one"), make_evidence(name="two", seed=1)
    fewer = {"validation": dataclasses.replace(other.traces.reported, labels=1 - other.traces.reported.labels)}
    other = dataclasses.replace(other, traces=dataclasses.replace(other.traces, splits=fewer))
    with pytest.raises(ValueError, match="one and two have one task, budget and protocol, but answer other examples"):
        suite_of(run, other)


def test_compute_of_a_shallow_model_is_over_the_deep_one():
    suite = suite_of(make_evidence("dense"), make_evidence("static"))
    static = suite.experiments["static"][0].traces.reported
    dense = suite.experiments["dense"][0].traces.reported
    assert suite.compute(dense, dense.costs.dense) == 1
    assert suite.compute(static, static.costs.dense) == static.costs.dense.sum() / dense.costs.dense.sum() < 0.6
    alone = Suite({"static": suite.experiments["static"]})
    assert alone.compute(static, static.costs.dense) == 1
