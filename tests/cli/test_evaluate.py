"""The script: what is typed reaches the evaluation."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException

from eat.benchmark.latency.plan import PlanSettings
from eat.benchmark.run import BenchmarkSettings
from eat.cli import evaluate
from eat.cli.compose import CONF
from eat.evaluation import Report, evaluate_run
from eat.evaluation.stages import STAGES
from tests.made.runs import write_run


def run_script(*overrides: str) -> Any:
    """Compose as the command line does and call the script's function without Hydra's wrapper."""
    with initialize_config_dir(CONF, version_base="1.3"):
        return evaluate.main.__wrapped__(compose("evaluate", overrides=list(overrides)))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Catch what the script asks for."""
    caught: dict[str, Any] = {}

    def catch(run: str, **options: Any) -> Report:
        caught.update(options, run=run)
        return Report(Path(), [], "")

    monkeypatch.setattr(evaluate, "evaluate_run", catch)
    return caught


def test_what_is_not_said_is_not_asked_for(asked: dict[str, Any]) -> None:
    run_script("run=runs/sst2/x")
    assert asked["run"] == "runs/sst2/x"
    assert set(asked["exit"].values()) == set(asked["pruner"].values()) == {None}
    for name, stage in STAGES.items():
        assert all(asked[name][setting] is None for setting in stage.asked_by)
    parameters = inspect.signature(evaluate_run).parameters
    plain = {key: value for key, value in asked.items() if not isinstance(value, dict) and key != "run"}
    assert plain == {key: parameters[key].default for key in plain}


def test_what_is_said_reaches_the_settings(asked: dict[str, Any]) -> None:
    run_script("run=x", "plan.batch_size=8", "plan.speedup=2", "calibrate.apply=false", "benchmark.rounds=3")
    assert PlanSettings(**asked["plan"]) == PlanSettings(batch_size=8, speedup=2)
    assert asked["calibrate"] == {"apply": False, "max_ece": None}
    assert BenchmarkSettings(**asked["benchmark"]).rounds == 3


@pytest.mark.parametrize(
    ("overrides", "spec"),
    [
        (["exit.threshold=0.7"], {"name": None, "threshold": 0.7, "patience": None, "veto_margin": None}),
        (
            ["exit=confidence", "exit.threshold=0.7"],
            {"name": "confidence", "threshold": 0.7, "patience": None, "veto_margin": None},
        ),
        (
            ["exit=confidence", "exit.threshold=[0.7,0.8]"],
            {"name": "confidence", "threshold": [0.7, 0.8], "patience": None, "veto_margin": None},
        ),
        (["exit=patience"], {"name": "patience", "threshold": None, "patience": 1, "veto_margin": None}),
    ],
)
def test_exit_can_be_changed_in_part_or_whole(
    asked: dict[str, Any], overrides: list[str], spec: dict[str, Any]
) -> None:
    run_script("run=x", *overrides)
    assert asked["exit"] == spec


def test_run_must_be_named() -> None:
    with pytest.raises(ValueError, match="run: expected the folder of a finished run, got none"):
        run_script()


def test_where_the_data_lie_reaches_the_evaluation(asked: dict[str, Any]) -> None:
    run_script("run=x", "data.train=a.csv", "data.test=b.csv", "data.root=c", "data.cache_dir=d")
    places = {key: value for key, value in asked.items() if key.startswith("data_")}
    assert places == {
        "data_train": "a.csv",
        "data_validation": None,
        "data_test": "b.csv",
        "data_root": "c",
        "data_cache_dir": "d",
    }


def test_unknown_key_fails() -> None:
    with pytest.raises(ConfigCompositionException, match="stage"):
        run_script("run=x", "stage=[quality]")


def test_a_run_is_evaluated_from_its_folder(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "small")
    report = run_script(f"run={folder}", "stages=[quality]", "exit.threshold=0.8", "device=cpu")
    assert report.folder == folder / "report" / "confidence-threshold-0.8"
    assert "eat, confidence 0.8" in report.table
