"""`eat search`, in this process: trials, what goes on after a stop, what fails, and what is recommended."""

import csv
import shutil
import sys

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from eat.cli import search, train
from eat.cli.compose import CONF, plain
from eat.cli.settings import register
from eat.runs.naming import fingerprint

pytest.importorskip("optuna", reason="needs optuna (pip install -e .[search])")
register()

WORDS = {"good": 1, "fine": 1, "bad": 0, "poor": 0}
SPACE = (
    *("~search.space.head_depths", "~search.space.objective", "search.space.pruner.depths.choices=[[1],[2],[1,2]]"),
    "+search.space.optimizer.lr={low:1e-3,high:1e-2,log:true}",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    words = list(WORDS)
    lines = [f"the {words[i % 4]} word{i % 7} number{i},{'yes' if WORDS[words[i % 4]] else 'no'}" for i in range(100)]
    (folder / "train.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HYDRA_FULL_ERROR", "1")
        yield folder


@pytest.fixture(scope="module")
def overrides(place):
    task = ["task=file", f"data.train={place / 'train.csv'}", f"data.cache_dir={place / 'cache'}", "data.batch_size=8"]
    task += ["data.threshold_examples=20", "data.certification_examples=20", "data.max_length=16", "trainer=cpu"]
    tiny = ["backbone=tiny", "backbone.dim=16", "backbone.num_layers=3", "backbone.intermediate_size=32"]
    return [*task, *tiny, "backbone.vocab_size=100", "head_depths=[2]", "pruner.depths=[1]", "budget=smoke"]


@pytest.fixture(scope="module")
def run_search(overrides):
    """Return a function that calls `eat search` and gives back the study's folder."""

    def call(*more, space=SPACE):
        found = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                search, "write_search", lambda study, about: found.append(study.folder) or write(study, about)
            )
            patch.setattr(sys, "argv", ["eat search", *overrides, *space, "search.trials=3", *more])
            search.main()
        return found[-1]

    write = search.write_search
    return call


@pytest.fixture(scope="module")
def searched(run_search):
    return run_search()


def rows(folder):
    with (folder / "trials.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_trial_is_a_run_and_the_first_is_the_training_as_it_stands(searched, place):
    assert {path.name for path in searched.iterdir() if path.name[0] != "."} == {
        *("study.db", "search.md", "search.png", "trials.csv", "best.yaml", "traces")
    }
    first, *others = rows(searched)
    assert [row["state"] for row in (first, *others)] == ["complete"] * 3
    assert (first["pruner.ratio"], first["pruner.depths"]) == ("0.3", "[1]")
    for row in (first, *others):
        assert {path.name for path in (place / row["run"]).iterdir()} >= {"model", "config.yaml"}
        assert not (place / row["run"] / "trace").exists()  # the reported split is not looked at
        config = yaml.safe_load((place / row["run"] / "config.yaml").read_text())
        assert str(config["pruner"]["ratio"]) == row["pruner.ratio"]
        assert 0 < float(row["flops_ratio"]) < 1
        assert row["examples"] == "9"  # the splits share 100 rows


def test_the_report_says_what_was_found_and_how(searched):
    text = (searched / "search.md").read_text()
    best = min(rows(searched), key=lambda row: -float(row["full_depth_quality"]))
    assert "3 trials: 3 complete" in text
    assert "accuracy on the threshold split (9 examples), never on the reported one" in text
    assert "loses at most 0.01" in text and "| trial " in text
    assert float(best["quality"]) >= float(best["full_depth_quality"]) - 0.01


def test_the_recommendation_repeats_its_trial_as_a_command_and_as_an_experiment(searched, place, monkeypatch):
    text = (searched / "search.md").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("eat train "))
    typed = [part.strip("'") for part in line.split()[2:]]
    with initialize_config_dir(CONF, version_base="1.3"):
        config = plain(compose("train", typed))
    conf = place / "conf"
    shutil.copytree(CONF, conf)
    shutil.copyfile(searched / "best.yaml", conf / "experiment" / "found.yaml")
    with initialize_config_dir(str(conf), version_base="1.3"):
        experiment = plain(compose("train", ["experiment=found"]))
    assert experiment | {"experiment": None} == config | {"experiment": None}
    assert experiment["experiment"] == "search_pruning"
    assert {row["run"].rpartition("-")[2] for row in rows(searched)} >= {fingerprint(config)}


def test_the_same_command_finds_everything_done(searched, run_search, monkeypatch):
    before = {path.name: path.read_bytes() for path in searched.glob("*.[mcy]*")}
    monkeypatch.setattr(search, "trained", lambda *_, **__: pytest.fail("trained again"))
    assert run_search() == searched
    assert {path.name: path.read_bytes() for path in searched.glob("*.[mcy]*")} == before


def test_more_trials_go_on_where_it_stopped_and_a_stop_does_too(searched, run_search, monkeypatch):
    before = rows(searched)
    with monkeypatch.context() as patch:
        patch.setattr("lightning.Trainer.fit", lambda *_, **__: (_ for _ in ()).throw(SystemExit(143)))
        with pytest.raises(SystemExit):
            run_search("search.trials=4")
    stopped = rows(searched)
    assert stopped[:3] == before and stopped[3]["state"] == "running"
    assert run_search("search.trials=4") == searched
    after = rows(searched)
    assert after[3]["state"] == "complete"
    values = ("pruner.ratio", "pruner.depths", "optimizer.lr")
    assert [after[3][key] for key in values] == [stopped[3][key] for key in values]


def test_a_failed_trial_is_named_and_the_others_go_on(run_search, monkeypatch, capsys):
    calls = []

    def fail_once(config, *, wait):
        calls.append(config)
        if len(calls) == 2:
            raise OSError("no space left")
        return trained(config, wait=wait)

    trained = search.trained
    monkeypatch.setattr(search, "trained", fail_once)
    folder = run_search("search.name=failing")
    assert [row["state"] for row in rows(folder)] == ["complete", "failed", "complete"]
    assert "- trial 1: no space left" in (folder / "search.md").read_text()
    assert "error: no space left" in capsys.readouterr().err


def test_a_search_in_which_all_fails_says_so(run_search, monkeypatch):
    monkeypatch.setattr(search, "trained", lambda *_, **__: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(RuntimeError, match="all 3 trials failed, the first one with: no space left"):
        run_search("search.name=all_failing")


def test_time_that_is_up_begins_no_trial(run_search, monkeypatch):
    clock = iter([0.0, 1.0, 100.0])
    monkeypatch.setattr(search, "monotonic", lambda: next(clock))
    assert len(rows(run_search("search.name=timed", "search.timeout=50"))) == 1


@pytest.mark.figures
def test_a_recipe_is_searched_by_quality_alone(run_search):
    space = ("search=recipe", "~search.space.data", "~search.space.budget", "search.trials=2")
    folder = run_search(*space, space=())
    text = (folder / "search.md").read_text()
    assert "accuracy at full depth on the threshold split" in text
    assert "FLOPs" not in text
    line = next(line for line in text.splitlines() if line.startswith("eat train "))
    assert "optimizer.layer_decay=" in line and "exit=" not in line
    assert (folder / "search.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["+search.space.pruner.ration={low:0.1,high:0.2}"],
            r"search.space.pruner.ration: .*did you mean 'pruner.ratio'",
        ),
        (
            ["search.space.pruner.ratio.high=1.1"],
            r"search.space.pruner.ratio: 1.1 is none of a training \(pruner.ratio",
        ),
        (["+search.space.pruner.min_tokens={low:-1,high:3}"], r"min_tokens: -1 is none of a training"),
        (["+search.space.attention={choices:[full,ful]}"], r"search.space.attention: ful is none of a training"),
        (
            ["+search.space.exit.threshold={low:0.1,high:0.9}"],
            r"exit.threshold does not; thresholds of the exit are re",
        ),
        (["search.trials=0"], r"search.trials: expected an integer of 1 or more"),
        (["+search.trails=3"], r"search.trails: expected one of .*did you mean 'trials'"),
        (["holdout=none", "data.threshold_examples=0"], r"data.threshold_examples: expected some, .* holdout=standard"),
        (["fresh=true"], r"fresh: of no use in a search; remove the study's folder"),
        (["resume=runs/x"], r"resume: of no use in a search; the same command goes on"),
        (["evaluation.stages=[quality]"], r"evaluation.stages: trials are only measured on the threshold split"),
        (["optimizer.lr=-1.0"], r"optimizer.lr: expected a number of 0 or more, got -1.0"),
    ],
)
def test_what_is_wrong_is_named_before_the_first_trial(run_search, place, more, message):
    with pytest.raises((HydraException, ValueError), match=message):
        run_search("paths.runs=wrong", *more)
    assert not (place / "wrong").exists()


def test_processes_that_train_together_cannot_search(run_search, monkeypatch):
    monkeypatch.setattr(search, "cluster", lambda: object())
    with pytest.raises(RuntimeError, match="search: expected one process, got several that train together"):
        run_search()


def test_a_search_is_shown_with_its_settings(overrides, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["eat search", "--help"])
    with pytest.raises(SystemExit):
        search.main()
    said = capsys.readouterr().out
    assert "search: pruning, recipe" in said and "task: " in said
    assert "search.trials (20): Trainings of the study in all" in said


def test_the_training_is_the_same_as_that_of_eat_train(searched, overrides, place, monkeypatch, caplog):
    row = rows(searched)[1]
    values = [f"{key}={row[key]}" for key in ("pruner.ratio", "pruner.depths", "optimizer.lr")]
    monkeypatch.setattr(sys, "argv", ["eat train", *overrides, *values, "evaluation.stages=[]"])
    monkeypatch.setattr(train, "train", lambda *_: pytest.fail("trained again"))
    train.main()
