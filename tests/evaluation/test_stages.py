"""Stages: what is checked before any work, in which order they work, and what they hand to each other."""

import dataclasses
import inspect
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

import evaluate
from eat.benchmark.latency.plan import PlanSettings
from eat.benchmark.latency.planned import Plan
from eat.evaluation import STAGES, check_options, evaluate_run
from eat.evaluation.calibration import Calibration
from eat.evaluation.certify.certificate import Certificate
from eat.evaluation.context import Evaluation
from eat.evaluation.criteria import Comparison
from eat.evaluation.report.section import Section
from eat.evaluation.stages.stage import NoSettings, Stage
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.granted import with_digest
from eat.runs.finished import FinishedRun
from eat.traces.storage import read_trace
from tests.made.models import EXIT
from tests.made.runs import write_run
from tests.reference.unchecked import unchecked_settings

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
PLAN = json.loads(next(RESULTS.glob("sst2/*/report/plan.json")).read_text())
BUDGETS = {"plan": {"speedup": 1.5}, "certify": {"max_drop": 0.6, "confidence": 0.8}}
ALL_BUT_BENCHMARK = [stage for stage in STAGES if stage not in ("benchmark", "rules")]  # which keep times


@pytest.fixture(autouse=True)
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan as if the clock had said the same as once before; give each head a temperature."""
    made = Plan.from_json({key: value for key, value in PLAN.items() if key not in ("run", "fingerprint")})
    monkeypatch.setattr("eat.evaluation.stages.plan.make_plan", lambda *_: made)
    monkeypatch.setattr("eat.evaluation.calibration.fit_temperature", lambda *_: 2.5)
    monkeypatch.setattr("eat.traces.quality.paired_share_interval", lambda *_: (0.0, 0.0))  # most of the time


@pytest.fixture
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eat.evaluation.report.section.draw", lambda *_: None)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_evaluation_leaves_every_file_as_it_is(run: Path) -> None:
    evaluate_run(run, stages=ALL_BUT_BENCHMARK, **BUDGETS)
    once = files(run)
    assert {"report/plan.json", "report/calibration.json", "report/certificate.json", "report/criteria.png"} < set(once)
    evaluate_run(run, stages=ALL_BUT_BENCHMARK, **BUDGETS)
    again = files(run)
    assert [name for name in once if again[name] != once[name]] == [] and set(again) == set(once)


@pytest.mark.usefixtures("_no_figures")
def test_a_plan_of_the_same_call_is_in_the_figure(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Comparison] = []
    monkeypatch.setattr("eat.evaluation.stages.sweep.criteria_section", lambda _, it: drawn.append(it) or Section())
    evaluate_run(run, stages=["quality", "sweep"])
    evaluate_run(run, stages=["quality", "sweep", "plan"], plan={"speedup": 1.5})
    evaluate_run(run, stages=["quality", "sweep"])
    assert [it.latency_ms is not None for it in drawn] == [False, True, True]
    times = [
        {name: it.latency_ms[grid].tolist() for name, grid in it.criteria.items()} for it in drawn if it.latency_ms
    ]
    assert times[0] == times[1]


@pytest.mark.usefixtures("_no_figures")
def test_traces_are_read_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(path: Path) -> Any:
        read.append(path.name)
        return read_trace(path)

    monkeypatch.setattr("eat.traces.run_traces.read_trace", counted)
    evaluate_run(run, stages=["calibrate", "quality", "sweep", "certify"], certify=BUDGETS["certify"])
    assert sorted(read) == sorted(path.name for path in (run / "trace").iterdir())


@pytest.mark.usefixtures("_no_figures")
def test_a_certified_run_loads_as_certified(run: Path) -> None:
    assert FinishedRun(run).load_model("cpu").config.certificate is None
    evaluate_run(run, stages=["certify"], certify=BUDGETS["certify"])
    certificate = json.loads((run / "report" / "certificate.json").read_text())["certificate"]
    model = FinishedRun(run).load_model("cpu")
    carried = model.config.certificate
    assert carried == with_digest(certificate) and not model.training
    assert model.config.exit == certificate["exit"] != EXIT
    measured = FinishedRun(run).load_model("cpu", certified=False)
    assert measured.config.certificate is None
    measured.set_exit(**EXIT)
    assert AdaptiveForSequenceClassification.from_pretrained(run / "model").config.certificate == carried


def printed_overrides(folder: Path) -> list[str]:
    """Return the overrides of the command that a report ends with."""
    (line,) = (line for line in (folder / "summary.md").read_text().splitlines() if "python evaluate.py" in line)
    return shlex.split(line)[2:]


@pytest.mark.usefixtures("_no_figures")
@pytest.mark.parametrize(
    ("options", "overrides"),
    [
        ({"stages": ["quality"]}, ["stages=[quality]"]),
        ({"stages": ["sweep"], "thresholds": [0.5, 0.75]}, ["stages=[quality,sweep]", "thresholds=[0.5,0.75]"]),
        (
            {"stages": ["quality"], "exit": {"name": "margin", "threshold": 0.3}},
            ["exit=margin", "exit.threshold=0.3", "stages=[quality]"],
        ),
        ({"stages": ["quality"], "exit": {"threshold": [0.6, 0.7]}}, ["exit.threshold=[0.6,0.7]"]),
        ({"stages": ["quality"], "baseline_run": "a dense, run"}, [r"baseline_run='a dense, run'"]),
        (
            {"stages": ["certify"], "certify": BUDGETS["certify"] | {"criteria": ["margin"]}},
            ["stages=[certify,quality]", "certify.max_drop=0.6", "certify.criteria=[margin]"],
        ),
        ({"stages": ["calibrate"], "calibrate": {"apply": False}}, ["calibrate.apply=false"]),
        ({"stages": ["plan"], "plan": {"speedup": 1.5}}, ["stages=[quality]"]),
    ],
)
def test_the_printed_command_repeats_the_report(
    options: dict[str, Any], overrides: list[str], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    shutil.copytree(run, "a dense, run", ignore=shutil.ignore_patterns("report"))
    report = evaluate_run("small", **options).folder
    before, printed = files(report), printed_overrides(report)
    assert printed[0] == "run=small" and set(overrides) <= set(printed)
    for name in before.keys() - {"plan.json", "plan.md"}:  # what was measured is kept
        (report / name).unlink()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        evaluate.main.__wrapped__(compose("evaluate", overrides=printed))
    assert files(report) == before


@pytest.mark.usefixtures("_no_figures")
def test_the_command_says_no_more_than_is_needed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(run / "model")
    report = evaluate_run(run).folder
    assert printed_overrides(report) == [f"run={run.resolve()}"]  # elsewhere: its whole path
    monkeypatch.chdir(run.parent)
    evaluate_run(run, thresholds=None, calibrate={"apply": None}, benchmark={"rounds": 5})  # the defaults
    assert printed_overrides(report) == ["run=small"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibrat": {"apply": True}}, r"calibrat: expected settings of one of .* \(did you mean 'calibrate'\?\)"),
        ({"sweep": {"thresholds": [1]}}, r"sweep.thresholds: expected one of \[\]"),
        ({"stages": ["certify"], "certify": {"loss": "x", "max_drop": 0.1}}, r"certify.loss: expected one of"),
        ({"baseline_run": "other"}, r"baseline_run: its trace must answer the same"),
        ({"thresholds": [2.0]}, r"thresholds: expected a number in \[0, 1\]"),
    ],
)
@pytest.mark.usefixtures("_no_figures")
def test_everything_is_checked_before_any_work(
    options: dict[str, Any], message: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_run(run.with_name("other"), seed=1)
    evaluate_run(other, stages=["quality"])
    monkeypatch.chdir(run.parent)
    for stage in STAGES:
        monkeypatch.setitem(STAGES, stage, Forbidden(STAGES[stage]))
    with pytest.raises(ValueError, match=message):
        evaluate_run(run, **options)


class Forbidden(Stage):
    """Stands for a stage that must not begin."""

    def __init__(self, stage: Stage) -> None:
        self.Settings, self.needs_weights, self.asked_by = stage.Settings, stage.needs_weights, stage.asked_by

    def __call__(self, run: Evaluation, settings: Any) -> Section | None:
        raise AssertionError("work has begun")


@pytest.mark.usefixtures("_no_figures", "_new_stage")
def test_a_new_stage_is_a_file_and_a_line(run: Path) -> None:
    evaluate_run(run, stages=["quality"])
    assert not (run / "report" / "counted.md").exists()  # on request
    shutil.rmtree(run / "model")  # or the benchmark would be part of it
    report = evaluate_run(run, counted={"upto": 3})
    assert (report.folder / "counted.md").read_text() == "1 2 3"
    summary = (report.folder / "summary.md").read_text()
    assert "## Counted\n\n1 2 3\n\n## Environment" in summary
    assert printed_overrides(report.folder)[-1] == "counted.upto=3"


@pytest.fixture
def _new_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass(frozen=True)
    class Settings:
        upto: int = 1

    class Counted(Stage):
        asked_by = ("upto",)

        def __call__(self, run: Evaluation, settings: Settings) -> Section:
            text = " ".join(map(str, range(1, settings.upto + 1)))
            return Section("Counted", text, files={"counted.md": text})

    Counted.Settings = Settings
    monkeypatch.setitem(STAGES, "counted", Counted())


def test_every_stage_says_what_it_needs() -> None:
    for name, stage in STAGES.items():
        known = {field.name for field in dataclasses.fields(stage.Settings)}
        assert set(stage.asked_by) <= known, name
    assert STAGES["plan"].Settings is PlanSettings and STAGES["quality"].Settings is NoSettings


@pytest.mark.parametrize(
    "path", sorted(RESULTS.glob("**/calibration.json")), ids=lambda path: path.parents[1].name[-8:]
)
def test_older_calibrations_are_read(path: Path) -> None:
    read = Calibration.from_json(json.loads(path.read_text()))
    assert json.dumps(read.to_json(), indent=1) + "\n" == path.read_text()


@pytest.mark.parametrize(
    "path", sorted(RESULTS.glob("**/certificate.json")), ids=lambda path: path.parents[1].name[-8:]
)
def test_older_certificates_are_read(path: Path) -> None:
    certificate = json.loads(path.read_text())["certificate"]
    assert json.dumps(Certificate.from_json(certificate).to_json()) == json.dumps(certificate)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": ["qualty"]}, r"stages: expected some of \[.*\], got 'qualty' \(did you mean 'quality'\?\)"),
        ({"stages": "quality"}, r"stages: expected a list, such as \[quality\], got 'quality'"),
        ({"stages": 1}, r"stages: expected a list, such as \[calibrate\], got 1"),
        ({"stages": [None]}, r"stages: expected some of \[.*\], got None"),
        ({"device": 3}, "device: expected auto, cpu or cuda, got 3"),
        ({"device": 10**30}, "device: expected auto, cpu or cuda, got 1000"),
        ({"baseline_run": "x" * 300}, "baseline_run: expected a name that a folder can have, got 'xxx"),
        ({"thresholds": 0.5}, r"thresholds: expected a list, such as \[0.8,0.9\], got 0.5"),
        ({"thresholds": [0.5, "x"]}, r"thresholds: expected a number in \[0, 1\], got 'x'"),
        ({"thresholds": [1.5]}, r"thresholds: expected a number in \[0, 1\], got 1.5"),
        ({"fresh": "perhaps"}, "fresh: expected true or false, got 'perhaps'"),
        ({"compile": 1}, "compile: expected true or false, got 1"),
        ({"compile": True, "stages": ["quality"]}, r"compile: expected some of \['rules', 'benchmark', 'plan'\] among"),
        ({"predictions": True, "stages": []}, r"predictions: got True, but stages=\[\] evaluates nothing"),
        ({"thresholds": [0.5], "stages": []}, r"thresholds: got \[0.5\], but stages=\[\] evaluates nothing"),
        ({"device": "cudda"}, "device: expected auto, cpu or cuda, got 'cudda'"),
        ({"benchmark": {"rounds": 0}}, r"benchmark\.rounds: expected an integer of 1 or more, got 0"),
        ({"stages": ["quality"], "plan": {"speedup": 2}}, "stages: a budget .* expected 'plan' among the stages"),
    ],
)
def test_options_are_checked_before_there_is_a_run(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(check_options)(**options)  # as outside of tests


def test_a_baseline_that_is_no_run_is_called_so() -> None:
    with pytest.raises(FileNotFoundError, match=r"^baseline_run: no folder nowhere"):
        check_options(baseline_run="nowhere")


def test_a_later_evaluation_draws_heads_before_and_after_an_earlier_calibration(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(
        "eat.evaluation.report.section.draw",
        lambda figure, path: drawn.append(figure.args[1]) if path.name == "calibration.png" else None,
    )
    evaluate_run(run, stages=["calibrate"], calibrate={"apply": False})
    evaluate_run(run, stages=["quality"])
    assert drawn[0] is not None
    assert [list(temperatures) for temperatures in drawn] == [list(drawn[0])] * 2
    path = run / "report" / "calibration.json"
    found = json.loads(path.read_text())
    for split in found["splits"].values():
        split["before"][0]["accuracy"] += 0.5  # as if fitted to other weights
    path.write_text(json.dumps(found))
    evaluate_run(run, stages=["quality"])
    assert drawn[2] is None
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"calibration\.json is damaged .* run stages=\[calibrate\] again"):
        evaluate_run(run, stages=["quality"])


@pytest.mark.parametrize(
    ("stage", "values", "message"),
    [
        ("benchmark", {"batch_sizes": 1.5}, r"benchmark.batch_sizes: expected a list, such as \[1,2\], got 1.5"),
        ("benchmark", {"threads": "ab"}, r"benchmark.threads: expected a list, such as \[1,2\], got 'ab'"),
        ("benchmark", {"thresholds": 0.5}, r"benchmark.thresholds: expected a list, such as \[0.8,0.9\], got 0.5"),
        ("benchmark", {"thresholds": [None]}, "benchmark.thresholds: expected a number of 0 or more, got None"),
        ("benchmark", {"shortcut_runs": [""]}, "benchmark.shortcut_runs: expected a folder, got ''"),
        ("benchmark", {"onnx": "no"}, "benchmark.onnx: expected true or false, got 'no'"),
        ("benchmark", {"seed": -1}, "benchmark.seed: expected an integer of 0 or more, got -1"),
        ("plan", {"speedup": 2.0, "seed": 0.5}, "plan.seed: expected an integer of 0 or more, got 0.5"),
        ("plan", {"speedup": "x" * 999, "latency_ms": 1}, r"plan: expected exactly one .{100,300}$"),
        ("certify", {"max_drop": 0.1, "criteria": 0.5}, r"certify.criteria: expected a list, such as \[confidence\]"),
        ("certify", {"max_drop": 0.1, "runs": ["\0"]}, "certify.runs: expected a name that a folder can have"),
        ("calibrate", {"apply": 1}, "calibrate.apply: expected true or false, got 1"),
    ],
)
def test_settings_of_other_types_are_refused(stage: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        unchecked_settings(STAGES[stage].Settings, **values)
