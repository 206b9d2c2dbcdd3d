"""Finished runs of all ages stay readable: what their results rows say of them."""

from pathlib import Path

import pytest

from eat.evaluation.report.rows import run_row
from eat.runs.finished import FinishedRun
from tests.made.runs import least_config

COMMITTED = sorted((Path(__file__).parents[2] / "results").glob("*/*/config.yaml"))  # not part of the sdist
MODEL_CONFIG = {
    "backbone": {"num_layers": 6},
    "attention": {"name": "full"},
    "pruner": {"name": "none"},
    "heads": {"depths": [2, 6], "pooling": "mean"},
}
UNNAMED = {"_target_": "eat.training.objective.build_objective", "early_weight": 0.3, "self_weight": 0.0}


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        (UNNAMED, "joint"),
        (UNNAMED | {"self_weight": 0.5, "teacher": "runs/x"}, "joint+self_distill+distill"),
        ({"name": "joint", "self_weight": 0.5}, "joint+self_distill"),
        ({"name": "two_stage", "stage": 0.5}, "two_stage"),
        ({"name": "soft_routing"}, "soft_routing"),
        (None, None),
    ],
)
def test_the_objective_is_named(tmp_path, spec, label):
    (tmp_path / "config.yaml").write_text(least_config("sst2", objective=spec))
    (tmp_path / "trace").mkdir()
    (tmp_path / "trace" / "validation.parquet").touch()
    assert run_row(FinishedRun(tmp_path), MODEL_CONFIG)["objective"] == label


@pytest.mark.parametrize("config", COMMITTED, ids=lambda path: path.parent.name)
def test_committed_results_are_read(config):
    assert run_row(FinishedRun(config.parent), MODEL_CONFIG)["objective"] in ("joint", "joint+self_distill")
