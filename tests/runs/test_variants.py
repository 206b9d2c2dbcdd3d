"""Other pruning of the same weights: a run folder that stands alone, and what certificates make of several."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from eat.evaluation import evaluate_run
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.runs.finished import FinishedRun
from eat.runs.variants import with_pruner
from eat.traces.run_traces import read_traces
from tests.made.runs import write_run


def load(folder: Path) -> AdaptiveForSequenceClassification:
    return AdaptiveForSequenceClassification.from_pretrained(folder / "model")


@pytest.fixture
def run(tmp_path: Path) -> FinishedRun:
    return FinishedRun(write_run(tmp_path / "run"))


def test_the_same_weights_under_another_schedule(run: FinishedRun) -> None:
    variant = with_pruner(run, {"ratio": 0.6})
    assert variant.folder == run.folder.resolve().with_name("run-ratio0.6")
    own, other = load(run.folder), load(variant.folder)
    assert other.config.pruner == {"name": "l2_norm", "depths": [1, 2], "ratio": 0.6}
    assert all(torch.equal(a, b) for a, b in zip(own.parameters(), other.parameters(), strict=True))
    assert (variant.folder / "model" / "model.safetensors").samefile(run.folder / "model" / "model.safetensors")
    assert variant.config["pruner"]["ratio"] == 0.6 and run.environment() == variant.environment()


def test_its_traces_are_its_own(run: FinishedRun) -> None:
    evaluate_run(run.folder, stages=["quality"], device="cpu")
    report = evaluate_run(run.folder, pruner={"ratio": 0.6, "name": None}, stages=["quality"], device="cpu")
    variant = FinishedRun(report.folder.parent)
    assert {row["ratio"] for row in report.rows} == {0.6}
    before, after = read_traces(run).reported, read_traces(variant).reported
    assert np.array_equal(before.labels, after.labels)
    assert after.tokens_kept[:, 1:3].sum() < before.tokens_kept[:, 1:3].sum()
    off = evaluate_run(run.folder, pruner={"name": "none"}, stages=["quality"], device="cpu")
    assert off.folder.parent.name == "run-none"
    unpruned = read_traces(FinishedRun(off.folder.parent)).reported.tokens_kept
    assert (unpruned[:, :-1] == unpruned[:, :1]).all()


def test_is_a_run_of_its_own_while_the_weights_stay(run: FinishedRun) -> None:
    variant = with_pruner(run, {"ratio": 0.6})
    card, config = variant.folder / "model" / "README.md", variant.model_config()
    card.write_text("certified")
    own = config | {"certificate": {"exit": config["exit"], "model": "x"}}
    (variant.folder / "model" / "config.json").write_text(json.dumps(own))
    assert with_pruner(run, {"ratio": 0.6}).model_config() == own and card.read_text() == "certified"


def test_begins_anew_where_the_weights_changed(run: FinishedRun) -> None:
    variant = with_pruner(run, {"ratio": 0.6})
    (variant.folder / "model" / "README.md").write_text("certified")
    model = load(run.folder)
    model.set_temperatures([1.0, 2.0, 3.0, 4.0])
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    model.save_pretrained(run.folder / "model")
    assert with_pruner(run, {"ratio": 0.6}).folder == variant.folder
    assert not (variant.folder / "model" / "README.md").exists()
    other = load(variant.folder)
    assert other.temperatures == (1.0, 2.0, 3.0, 4.0)
    assert torch.equal(next(other.parameters()), next(model.parameters()))


def test_the_same_pruning_is_the_run_itself(run: FinishedRun) -> None:
    assert with_pruner(run, {"ratio": 0.3}) is run


def test_a_certificate_stays_with_its_own_pruning(run: FinishedRun) -> None:
    path = run.folder / "model" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"certificate": {"exit": config["exit"], "model": "x"}}))
    assert with_pruner(run, {"ratio": 0.6}).model_config()["certificate"] is None


def test_bad_input_leaves_nothing_behind(run: FinishedRun) -> None:
    with pytest.raises(ValueError, match=r"pruner\.ratio: expected a number in \[0, 1\), got 2"):
        with_pruner(run, {"ratio": 2})
    with pytest.raises(ValueError, match="l2_norn"):
        with_pruner(run, {"name": "l2_norn"})
    assert [path.name for path in run.folder.parent.iterdir()] == ["run"]
    for path in (run.folder / "model").iterdir():
        path.unlink()
    (run.folder / "model").rmdir()
    (run.folder / "trace").mkdir()
    (run.folder / "trace" / "validation.parquet").touch()
    with pytest.raises(FileNotFoundError, match="needs new traces"):
        with_pruner(FinishedRun(run.folder), {"ratio": 0.5})
