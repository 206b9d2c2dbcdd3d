"""Suites hold the runs of a block as tables group them; what cannot stand beside the others is named."""

import dataclasses

import numpy as np

from eat.results.collect import collect
from eat.results.figures.suite import read_suite
from eat.results.group import group
from eat.traces.storage import read_trace, write_trace
from tests.made.evidence import make_evidence, make_suite
from tests.results.made import CONFIDENCE, write_logged, write_report


def only_suite(folder):
    ((block, experiments),) = group(collect(folder)[0])[0].items()
    return read_suite(block, experiments)


def test_dense_and_static_experiments_come_first_and_seeds_are_together(tmp_path):
    for name, exit in (("adaptive", CONFIDENCE), ("dense", {"name": "never"})):
        for seed in (0, 1):
            write_logged(tmp_path / f"{name}{seed}", f"ablation/{name}", seed=seed, exit=exit)
    suite, notes = only_suite(tmp_path)
    assert notes == []
    assert {label: len(runs) for label, runs in suite.experiments.items()} == {"dense": 2, "adaptive": 2}
    assert list(suite.experiments) == ["dense", "adaptive"]
    assert [suite.kind(runs[0]) for runs in suite.experiments.values()] == ["dense", "adaptive"]
    assert suite.dense == "dense"
    assert suite.subject == "made_up validation (80 examples); tiny, budget smoke; 2 seeds"


def test_a_run_is_shown_at_the_operating_point_of_its_report(tmp_path):
    folder = write_logged(tmp_path / "a", exit=CONFIDENCE)
    write_report(folder, CONFIDENCE | {"threshold": 0.6})
    suite, _ = only_suite(tmp_path)
    assert suite.runs[0].point.label == "confidence threshold=0.6"


def test_a_run_that_answers_other_examples_is_left_out_by_name(tmp_path):
    write_logged(tmp_path / "a")
    path = write_logged(tmp_path / "b", "ablation/other") / "trace" / "validation.parquet"
    trace = read_trace(path)
    write_trace(dataclasses.replace(trace, labels=1 - trace.labels, all_logits=-trace.all_logits), path)
    suite, notes = only_suite(tmp_path)
    assert [run.name for run in suite.runs] == ["a"]
    assert notes == ["left out: b answers other examples of 'validation' than the others do"]


def test_a_protocol_that_holds_nothing_out_and_a_subset_are_named():
    experiments = {"adaptive": [make_evidence()]}
    subject = make_suite(experiments, holdout="none", data="subset 40 of 99").subject
    assert "(40 examples, subset 40 of 99)" in subject
    assert subject.endswith("1 seed; holdout=none: thresholds chosen on validation")
    assert "holdout" not in make_suite(experiments).subject


def test_compute_of_a_shallow_model_is_over_the_deep_one():
    suite = make_suite({kind: [make_evidence(kind)] for kind in ("dense", "static")})
    static = suite.experiments["static"][0].traces.reported
    dense = suite.experiments["dense"][0].traces.reported
    assert suite.compute(dense, dense.costs.dense) == 1
    assert suite.compute(static, static.costs.dense) == static.costs.dense.sum() / dense.costs.dense.sum() < 0.6
    alone = make_suite({"static": suite.experiments["static"]})
    assert alone.compute(static, np.asarray(static.costs.dense)) == 1
