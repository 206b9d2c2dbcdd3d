"""The script: what is typed reaches the evaluation."""

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf.errors import MissingMandatoryValue

import evaluate
from eat.benchmark.latency.plan import PlanSettings
from eat.benchmark.run import BenchmarkSettings
from eat.evaluation import evaluate_run
from eat.evaluation.calibration import CalibrationSettings
from eat.evaluation.certify.certificate import CertifySettings
from tests.made.runs import write_run

CONF = Path(evaluate.__file__).parent / "conf"


def run_script(*overrides: str) -> Any:
    """Compose as the command line does and call the script's function without Hydra's wrapper."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return evaluate.main.__wrapped__(compose("evaluate", overrides=list(overrides)))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Catch what the script asks for."""
    caught: dict[str, Any] = {}
    monkeypatch.setattr(evaluate, "evaluate_run", lambda run, **options: caught.update(options, run=run))
    return caught


def test_defaults_are_those_of_the_function(asked: dict[str, Any]) -> None:
    run_script("run=runs/sst2/x")
    benchmark = asked.pop("benchmark")
    assert BenchmarkSettings(**benchmark) == BenchmarkSettings(
        batch_sizes=[1, 32], threads=[], thresholds=[0.8, 0.85, 0.9, 0.95], shortcut_runs=[]
    )
    planning = asked.pop("plan")
    assert PlanSettings(**planning | {"speedup": 2}) == PlanSettings(speedup=2)
    assert planning["latency_ms"] is planning["speedup"] is None
    certifying = asked.pop("certify")
    assert CertifySettings(**certifying | {"max_drop": 0.01}) == CertifySettings(max_drop=0.01, criteria=[], runs=[])
    assert certifying["max_drop"] is None
    assert asked.pop("calibrate") == dict.fromkeys(field.name for field in dataclasses.fields(CalibrationSettings))
    assert asked.pop("run") == "runs/sst2/x"
    assert set(asked.pop("exit").values()) == set(asked.pop("pruner").values()) == {None}
    parameters = inspect.signature(evaluate_run).parameters
    assert asked == {key: parameters[key].default for key in asked}


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
    with pytest.raises(MissingMandatoryValue, match="run"):
        run_script()


def test_unknown_key_fails() -> None:
    with pytest.raises(ConfigCompositionException, match="stage"):
        run_script("run=x", "stage=[quality]")


def test_a_run_is_evaluated_from_its_folder(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "small")
    report = run_script(f"run={folder}", "stages=[quality]", "exit.threshold=0.8", "device=cpu")
    assert report.folder == folder / "report" / "confidence-threshold-0.8"
    assert "eat, confidence 0.8" in report.table
