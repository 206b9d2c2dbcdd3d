"""Sweeps that survive: the same command finds its folder again, does what is left, and always ends with its table.

Jobs are evaluations of a run that is there; that trainings resume as well stands in test_train.py.
"""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from eat.cli import command, evaluate, settings
from eat.cli.compose import CONF
from eat.cli.messages import explain
from eat.evaluation import evaluate_run
from eat.runs.lock import locked
from tests.made.runs import write_traced_run

ROOT = Path(__file__).parents[2]
QUALITY = "stages=[quality]"
KILLER = """
import os, signal
if os.environ.get("EAT_JOB", "").endswith("/1"):
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""What Python runs first in every process, here to end the second job of a sweep as the system does without memory."""

settings.register()


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    return write_traced_run(tmp_path_factory.mktemp("traced") / "small")


@pytest.fixture
def run(traced, tmp_path, monkeypatch):
    """A traced run in a folder where sweeps go as well; figures, most of the time of a report, are left out."""
    monkeypatch.chdir(tmp_path)
    for name in ("section.draw", "figures.draw_runs"):
        monkeypatch.setattr(f"eat.evaluation.report.{name}", lambda *_: None)
    monkeypatch.setattr("eat.evaluation.between_runs.combined.draw_runs", lambda *_: None)
    shutil.copytree(traced, tmp_path / "runs" / "small")
    return Path("runs/small")


@pytest.fixture
def evaluated(monkeypatch):
    """The runs that were really evaluated, not read from an earlier sweep."""
    seen = []

    def noted(run, **options):
        seen.append(options["exit"]["threshold"])
        return evaluate_run(run, **options)

    monkeypatch.setattr(evaluate, "evaluate_run", noted)
    return seen


@pytest.fixture
def sweep(run, monkeypatch):
    """Return a function that does a sweep over exits, and gives back how it ended and its folder."""

    def call(*overrides):
        monkeypatch.setattr(sys, "argv", ["evaluate.py", "-m", f"run={run}", QUALITY, *overrides])
        try:
            evaluate.main()
            code = ""
        except SystemExit as stop:
            code = str(stop.code)
        return code, sorted(path for path in Path("runs/sweeps").glob("*") if path.is_dir())

    return call


def states(folder):
    paths = sorted(folder.glob("*/job.json"), key=lambda path: int(path.parent.name))
    return [json.loads(path.read_text())["state"] for path in paths]


def test_the_same_command_goes_on_where_a_sweep_was_killed(sweep, evaluated, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("eat.cli.evaluate.evaluate_run", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        code, (folder,) = sweep("exit.threshold=0.6,0.7,0.8")
    assert code == "130" and states(folder) == ["started", "waiting", "waiting"]
    assert not (folder / "combined.md").exists()
    assert sweep("exit.threshold=0.6,0.7,0.8") == ("", [folder])
    assert states(folder) == ["done"] * 3 and evaluated == [0.6, 0.7, 0.8]
    table = (folder / "combined.md").read_text()
    assert all(f"confidence {tau}" in table for tau in evaluated)
    assert sweep("exit.threshold=0.6,0.7,0.8") == ("", [folder])
    assert evaluated == [0.6, 0.7, 0.8], "nothing has changed since"
    assert (folder / "combined.md").read_text() == table


def test_a_report_is_made_again_where_something_has_changed(sweep, run, evaluated):
    _, (folder,) = sweep("exit.threshold=0.7,0.8")
    (run / "report" / "confidence-threshold-0.7" / "frontier.csv").unlink()
    sweep("exit.threshold=0.7,0.8")
    assert evaluated == [0.7, 0.8, 0.7]
    assert (run / "report" / "confidence-threshold-0.7" / "frontier.csv").is_file()
    sweep("exit.threshold=0.7,0.8", "fresh=true")
    assert len(evaluated) == 5 and states(folder) == ["done", "done"]


def test_a_failed_job_is_tried_again_and_the_others_are_not(sweep, evaluated):
    code, (folder,) = sweep("exit.threshold=0.6,2.0,0.9")
    assert code == "error: 1 of 3 jobs failed: job 1 (exit.threshold=2.0); see above"
    assert states(folder) == ["done", "failed", "done"]
    assert "- failed: job 1 (exit.threshold=2.0): exit.threshold: expected" in (folder / "combined.md").read_text()
    code, _ = sweep("exit.threshold=0.6,2.0,0.9")
    assert code.startswith("error: 1 of 3 jobs failed") and evaluated == [0.6, 2.0, 0.9, 2.0]


def test_jobs_that_come_to_one_run_are_named(sweep):
    _, (folder,) = sweep("exit.threshold=0.7,0.8,0.70")
    table = (folder / "combined.md").read_text()
    assert "- job 0 (exit.threshold=0.7) and job 2 (exit.threshold=0.7) are one run: nothing differs" in table


def test_where_every_job_fails_no_earlier_table_is_left(sweep):
    _, (folder,) = sweep("exit.threshold=0.6,0.7", "hydra.sweep.dir=runs/sweeps/mine")
    assert (folder / "combined.md").is_file()
    code, _ = sweep("exit.threshold=2.0,3.0,4.0", "hydra.sweep.dir=runs/sweeps/mine")
    assert code.startswith("error: 3 of 3 jobs failed") and not (folder / "combined.csv").exists()
    table = (folder / "combined.md").read_text()
    assert table.startswith("No job has a report.") and "0.6" not in table
    assert "- failed: job 1 (exit.threshold=3.0): exit.threshold: expected" in table
    code, _ = sweep("exit.threshold=0.7,0.6", "hydra.sweep.dir=runs/sweeps/mine")
    assert not code and states(folder) == ["done", "done"], "the notes of another command are gone"


def test_a_sweep_of_no_values_is_refused(sweep):
    """Hydra would run nothing and be content: a glob does not look into folders of choices."""
    code, folders = sweep("benchmark=glob(paper/*)")
    assert code == "error: benchmark: glob(paper/*) stands for none of ['default', 'paper'], so that there is no job"
    assert folders == []


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_ablation_trains_every_variant():
    made = subprocess.run(["make", "-n", "ablation"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    every, several_seeds = re.findall(r"train\.py -m experiment=(\S+)", made)
    variants = {f"ablation/{path.stem}" for path in (ROOT / "conf" / "experiment" / "ablation").glob("*.yaml")}
    assert set(every.split(",")) == variants > set(several_seeds.split(","))


def test_another_command_has_another_folder_and_the_command_is_kept(sweep, run):
    _, folders = sweep("exit.threshold=0.6,0.7")
    _, both = sweep("exit.threshold=0.6,0.8", "exit.name=margin")
    (other,) = set(both) - set(folders)
    typed = ["-m", f"run={run}", QUALITY, "exit.threshold=0.6,0.8", "exit.name=margin"]
    kept = (other / "command.txt").read_text()
    assert shlex.split(kept) == ["python", "evaluate.py", *typed]
    assert f"Made with:\n\n    {kept}" in (other / "combined.md").read_text()


def test_one_sweep_is_done_by_one_process(sweep):
    _, (folder,) = sweep("exit.threshold=0.6,0.7")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with locked(folder, wait=False):
        code, _ = sweep("exit.threshold=0.6,0.7")
    assert code.startswith("error: hydra.sweep.dir: another process does the sweep in")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert sweep("exit.threshold=0.6,0.7")[0] == ""


def test_a_launcher_that_fails_is_no_reason_to_lose_the_table(sweep, monkeypatch, capsys):
    jobs = ("exit.threshold=0.6,0.7,0.8", "hydra.sweeper.max_batch_size=1")
    calls = []

    def second_dies():
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("a worker died")
        return jobs_folder()

    jobs_folder = command.job_folder
    with monkeypatch.context() as patch:
        patch.setattr(command, "job_folder", second_dies)
        code, (folder,) = sweep(*jobs)
    assert code == "error: 2 of 3 jobs failed: job 1 (exit.threshold=0.7), job 2 (exit.threshold=0.8); see above"
    assert "the launcher failed: RuntimeError: a worker died" in capsys.readouterr().err
    assert "confidence 0.6" in (folder / "combined.md").read_text()
    assert sweep(*jobs)[0] == ""


def test_what_is_typed_wrong_starts_nothing(sweep):
    code, folders = sweep("exit.threshold=0.6,0.7", "exit.treshold=1")
    assert code == "1" and all(states(folder) == ["waiting"] * 2 for folder in folders)


def start(folder, *overrides, **environment):
    path = os.pathsep.join([str(folder), str(ROOT)])  # the first for what Python runs first
    typed = [sys.executable, "-m", "eat", "evaluate", "-m", "run=runs/small", QUALITY, *overrides]
    return subprocess.Popen(
        typed, cwd=folder, env=os.environ | {"PYTHONPATH": path} | environment, stdout=subprocess.PIPE, stderr=-2
    )


def test_sweeps_that_start_in_the_same_second_share_nothing(run, tmp_path):
    commands = [("exit.threshold=0.6,0.7",), ("exit.threshold=0.8,0.9",), ("exit.threshold=0.6,0.7",)]
    processes = [start(tmp_path, *typed) for typed in commands]
    said = [process.communicate(timeout=250)[0].decode() for process in processes]
    codes = [process.returncode for process in processes]
    assert codes[1] == 0, said[1]
    assert sorted((codes[0], codes[2])) in ([0, 0], [0, 1]), said  # the one that came later was refused
    folders = sorted(path for path in (tmp_path / "runs" / "sweeps").iterdir() if path.is_dir())
    assert [states(folder) for folder in folders] == [["done"] * 2] * 2
    tables = [(folder / "combined.md").read_text() for folder in folders]
    assert sorted(all(f"confidence {tau}" in t for tau in (0.6, 0.7)) for t in tables) == [False, True]
    assert sorted(all(f"confidence {tau}" in t for tau in (0.8, 0.9)) for t in tables) == [False, True]


@pytest.mark.parametrize("launcher", ["joblib", pytest.param("queue", marks=pytest.mark.slow)])
def test_a_job_whose_process_is_killed_is_named_and_the_others_go_on(run, tmp_path, launcher):
    plugin = {"joblib": "hydra_joblib_launcher", "queue": "hydra_submitit_launcher"}[launcher]
    if importlib.util.find_spec("hydra_plugins") is None or importlib.util.find_spec(f"hydra_plugins.{plugin}") is None:
        pytest.skip(f"needs {plugin}: pip install 'eat-transformers[cluster]'")
    (tmp_path / "sitecustomize.py").write_text(KILLER)
    process = start(tmp_path, "exit.threshold=0.6,0.7", f"hydra/launcher={launcher}")
    said = process.communicate(timeout=280)[0].decode()
    assert process.returncode == 1, said
    (folder,) = (path for path in (tmp_path / "runs" / "sweeps").iterdir() if path.is_dir())
    assert states(folder) == ["done", "failed"], said
    table = (folder / "combined.md").read_text()
    assert "confidence 0.6" in table
    assert "failed: job 1 (exit.threshold=0.7): its process was killed by SIGKILL, as the system does when" in table


def test_slurm_jobs_go_back_into_the_queue_and_keep_their_folder():
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs eat-transformers[cluster]")
    slurm = pytest.importorskip("submitit.slurm.slurm")
    with initialize_config_dir(CONF, version_base="1.3"):
        config = compose("train", ["hydra/launcher=slurm", "hydra.sweep.dir=runs/sweeps/x"], return_hydra_config=True)
    launcher = config.hydra.launcher
    assert launcher.submitit_folder == "runs/sweeps/x/.submitit/%j"
    assert launcher.max_num_timeout > 0 and launcher.timeout_min > 10
    text = slurm._make_sbatch_string(
        "python job.py",
        launcher.submitit_folder,
        time=launcher.timeout_min,
        signal_delay_s=launcher.signal_delay_s,
        additional_parameters=dict(launcher.additional_parameters),
        map_count=3,
    )
    assert {"#SBATCH --requeue", "#SBATCH --signal=USR2@120", "#SBATCH --time=240"} <= set(text.splitlines())


def test_a_launcher_that_is_not_there_is_named():
    with initialize_config_dir(CONF, version_base="1.3"), pytest.raises(Exception, match="slrum") as caught:
        compose("train", ["hydra/launcher=slrum"])
    said = explain(caught.value, "train", [])
    assert said.startswith("hydra/launcher: expected one of ['basic', 'joblib'") and "did you mean 'slurm'?" in said
