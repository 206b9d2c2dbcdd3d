"""`python train.py`, in this process: what it leaves behind, what it does when asked again, and after a kill."""

import csv
import json
import random
import sys

import pytest
import torch
import yaml
from hydra.errors import HydraException
from lightning.pytorch.utilities.exceptions import SIGTERMException
from safetensors.torch import load_file
from transformers import AutoTokenizer

import train
from eat import AdaptiveForSequenceClassification
from eat.runs.folder import RunFolder
from eat.training.objectives import OBJECTIVES

SCORES = ("data.label=score", "data.kind=regression")
WORDS = {"good": 1, "fine": 1, "great": 1, "bad": 0, "poor": 0, "dull": 0}


@pytest.fixture
def rows(tmp_path):
    """100 sentences of a made-up language in which one word decides."""
    draw = random.Random(0)
    path = tmp_path / "train.csv"
    lines = []
    for number in range(100):
        word = draw.choice(list(WORDS))
        filler = [f"word{draw.randrange(40)}" for _ in range(draw.randrange(3, 12))]
        filler.insert(draw.randrange(len(filler)), word)
        lines.append(f"{' '.join(filler)} number{number},{'good' if WORDS[word] else 'bad'},{WORDS[word] + 0.5}\n")
    path.write_text("body,class,score\n" + "".join(lines))
    return path


@pytest.fixture
def evaluated(monkeypatch):
    """Leave evaluations out, for speed, and return what they were asked for."""
    asked = []
    monkeypatch.setattr(train, "evaluate_run", lambda run, **options: asked.append((run, options)))
    return asked


@pytest.fixture
def run_train(tmp_path, rows, monkeypatch, caplog):
    """Return a function that calls train.py with overrides and gives back the run folders there are."""
    monkeypatch.chdir(tmp_path)

    def call(*overrides, defaults=True, flags=()):
        small = [
            "task=file",
            f"data.train={rows}",
            "data.text=body",
            "data.label=class",
            f"data.cache_dir={tmp_path / 'cache'}",
            "data.max_length=32",
            "data.threshold_examples=20",
            "data.certification_examples=20",
            "data.batch_size=8",
            "backbone=tiny",
            "backbone.dim=16",
            "backbone.num_layers=3",
            "backbone.intermediate_size=32",
            "backbone.vocab_size=200",
            "pruner.depths=[1]",
            "head_depths=[2]",
            "optimizer.lr=1e-2",
            "budget.epochs=1",
            "trainer=cpu",
            "evaluation.stages=[quality]",
        ]
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        monkeypatch.setattr(sys, "argv", ["train.py", *flags, *(small if defaults else []), *overrides])
        train.main()
        return sorted(path.parent for path in tmp_path.glob("runs/file/*/config.yaml"))

    return call


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


def test_a_run_folder_holds_everything(run_train, evaluated, tmp_path):
    (folder,) = run_train()
    assert folder.name.startswith("tiny-windowed32-l2_norm-full-seed0-")
    assert {path.name for path in folder.iterdir()} == {
        *("config.yaml", "environment.json", "metrics.csv", "checkpoints", "model")
    }
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["trainer"]["max_epochs"] == 1
    assert "paths" not in config
    assert str(tmp_path) not in (folder / "environment.json").read_text()
    assert json.loads((folder / "environment.json").read_text())["seed"] == 0
    assert {"best.ckpt", "last.ckpt", "tokenizer"} == {path.name for path in (folder / "checkpoints").iterdir()}
    ((run, options),) = evaluated
    spec = {"name": "confidence", "threshold": 0.9, "veto_margin": None}
    assert (run.resolve(), options["exit"]) == (folder, spec)
    assert options["stages"] == ["quality"]
    model = AdaptiveForSequenceClassification.from_pretrained(folder / "model")
    assert model.config.id2label == {0: "bad", 1: "good"}
    assert model.head_depths == (2, 3)
    assert not list(tmp_path.glob("outputs")), "Hydra leaves nothing"


def test_the_same_command_again_evaluates_and_fresh_trains_anew(run_train, evaluated):
    (folder,) = run_train()
    trained = (folder / "model" / "model.safetensors").stat().st_mtime_ns
    assert run_train("exit.threshold=0.6") == [folder]
    assert (folder / "model" / "model.safetensors").stat().st_mtime_ns == trained
    assert [options["exit"]["threshold"] for _, options in evaluated] == [0.9, 0.6]
    before = weights(folder)
    assert run_train("fresh=true") == [folder, folder.with_name(f"{folder.name}.old-1")]
    assert (folder / "model" / "model.safetensors").stat().st_mtime_ns > trained
    torch.testing.assert_close(weights(folder), before, rtol=0, atol=0)


@pytest.mark.usefixtures("evaluated")
def test_an_unfinished_run_is_continued_to_the_same_model(run_train, monkeypatch, capsys):
    (alone,) = run_train("seed=1", "callbacks.checkpoints.every_n_steps=3")
    expected = weights(alone)
    alone.rename(alone.with_name("alone"))
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_model", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr("eat.training.checkpoints.RunCheckpoints.on_train_epoch_end", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            run_train("seed=1", "callbacks.checkpoints.every_n_steps=3")
    assert not (alone / "model").exists()
    # Not by the same command this time, but from its folder.
    capsys.readouterr()
    run_train(f"resume={alone}", "exit.threshold=0.6", defaults=False)
    said = capsys.readouterr().out
    assert "was not finished; continuing it" in said
    assert "continuing at step" in said
    torch.testing.assert_close(weights(alone), expected, rtol=0, atol=0)


def test_resuming_with_another_training_in_mind_is_refused(run_train, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"resume: expected a run folder with config.yaml"):
        run_train(f"resume={tmp_path}", defaults=False)
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(ValueError, match=r"so optimizer.lr=1 cannot change"):
        run_train(f"resume={tmp_path}", "optimizer.lr=1", "exit.threshold=0.5", defaults=False)


def test_a_multirun_over_exits_trains_once_and_ends_with_one_table(run_train, tmp_path):
    (folder,) = run_train("exit.threshold=0.6,0.9", flags=("-m",))
    assert len(list(folder.glob("report/**/summary.md"))) == 2
    (sweep,) = tmp_path.glob("runs/sweeps/*")
    assert {"combined.csv", "combined.md", "combined.png"} <= {path.name for path in sweep.iterdir()}


@pytest.mark.usefixtures("evaluated")
@pytest.mark.parametrize("objective", sorted(OBJECTIVES.keys() - {"joint"}))
def test_every_objective_trains_to_a_model_with_all_heads(run_train, objective):
    (folder,) = run_train(f"objective={objective}")
    assert folder.name.startswith(f"tiny-windowed32-l2_norm-{objective}-full-seed0-")
    model = AdaptiveForSequenceClassification.from_pretrained(folder / "model")
    assert model.head_depths == (2, 3)


@pytest.mark.usefixtures("evaluated")
@pytest.mark.parametrize("objective", ["two_stage", "two_stage_distill"])
def test_stages_on_a_regression(run_train, objective):
    (folder,) = run_train(f"objective={objective}", "objective.stage=0.4", "exit=never", *SCORES)
    assert (folder / "model" / "model.safetensors").is_file()


def test_a_multirun_over_objectives_says_in_its_table_which_is_which(run_train, tmp_path):
    first, second = run_train("objective=self_distill,two_stage", "budget.max_steps=4", flags=("-m",))
    assert {"self_distill", "two_stage"} == {folder.name.split("-")[3] for folder in (first, second)}
    (sweep,) = tmp_path.glob("runs/sweeps/*")
    with (sweep / "combined.csv").open(newline="") as handle:
        assert {row["objective"] for row in csv.DictReader(handle)} == {"joint+self_distill", "two_stage"}


@pytest.mark.usefixtures("evaluated")
def test_regression_and_a_random_pruner_with_everything_else_off(run_train):
    off = ("attention=full", "pruner=random", "exit=never", "head_depths=null")
    (folder,) = run_train(*off, *SCORES)
    model = AdaptiveForSequenceClassification.from_pretrained(folder / "model")
    assert model.config.num_labels == 1
    assert model.head_depths == (3,)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimiser.lr=1"], "optimiser"),
        (["exit=sometimes"], "confidence"),
        (["pruner.depths=[3]"], "pruner.depths"),
        (["+objective.stage=0.5"], "objective.stage: objective 'joint' takes"),
        (["objective=soft_routing", "exit=never", *SCORES], "'soft_routing' needs class prob"),
        (["objective=two_stage", "head_depths=[]"], "head_depths: .* at least one depth before the last"),
    ],
)
def test_what_is_wrong_is_named(run_train, overrides, message):
    with pytest.raises((HydraException, ValueError), match=message):
        run_train(*overrides)


def test_the_configuration_can_be_shown(run_train, capsys):
    run_train(flags=("--cfg", "job"))
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["pruner"] == {"name": "l2_norm", "depths": [1], "ratio": 0.3, "min_tokens": 1}


def test_a_signal_is_said_and_not_taken_for_success(run_train, monkeypatch, capsys):
    monkeypatch.setattr("lightning.Trainer.fit", lambda *_, **__: (_ for _ in ()).throw(SIGTERMException))
    with pytest.raises(SystemExit) as stopped:
        run_train()
    assert stopped.value.code == 143
    assert "the same command continues" in capsys.readouterr().out


@pytest.mark.usefixtures("evaluated")
def test_a_finished_run_teaches_another(run_train):
    (teacher,) = run_train()
    every_step = ("trainer.log_every_n_steps=1", "logger=tensorboard")
    first, second = run_train(
        "objective=distill", f"objective.teacher={teacher}", "objective.self_weight=0.5", *every_step
    )
    student = second if first == teacher else first
    header = (student / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/supervised", "train/distillation", "train/self_distillation"} <= set(header)
    assert list((student / "tensorboard").iterdir())


@pytest.fixture
def run_retrofit(run_train, rows, tmp_path):
    """Return a function that retrofits a classifier with early heads and gives back the run's folder."""

    def call(classifier, *overrides):
        before = set(tmp_path.glob("runs/file/classifier-*"))
        task = ("task=file", f"data.train={rows}", "data.text=body", "data.label=class", "data.max_length=32")
        small = ("data.threshold_examples=20", "data.certification_examples=20", "data.batch_size=8", "budget.epochs=2")
        session = (f"data.cache_dir={tmp_path / 'cache'}", "trainer=cpu", "evaluation.stages=[quality]")
        run_train(f"retrofit={classifier}", *task, *small, *session, *overrides, defaults=False)
        (folder,) = set(tmp_path.glob("runs/file/classifier-*")) - before
        return folder

    return call


DENSE = ("attention=full", "pruner.ratio=0", "exit=never", "head_depths=null")


def test_a_finished_run_is_retrofitted_and_evaluated_like_any_other(run_train, run_retrofit):
    (dense,) = run_train(*DENSE)
    folder = run_retrofit(dense, "exit.threshold=0.6")
    assert {path.name for path in folder.iterdir()} == {
        *("config.yaml", "environment.json", "metrics.csv", "checkpoints", "model", "trace", "report")
    }
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    header, *_ = (folder / "metrics.csv").read_text().splitlines()
    assert {"val/accuracy_early", "val/accuracy_depth_1"} <= set(header.split(","))
    assert yaml.safe_load((folder / "config.yaml").read_text())["objective"]["self_weight"] > 0
    before, after = weights(dense), weights(folder)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {name.split(".")[2] for name in after.keys() - before.keys()} == {"1", "2"}


@pytest.mark.usefixtures("evaluated")
def test_an_export_is_retrofitted_with_pruning_and_a_killed_one_goes_on(run_train, run_retrofit, tmp_path, monkeypatch):
    (dense,) = run_train(*DENSE)
    AdaptiveForSequenceClassification.from_pretrained(dense / "model").to_hugging_face().save_pretrained(
        tmp_path / "hf"
    )
    AutoTokenizer.from_pretrained(dense / "model").save_pretrained(tmp_path / "hf")
    options = ("pruner=l2_norm", "pruner.depths=[1]", "head_depths=[2]", "callbacks.checkpoints.every_n_steps=3")
    alone = run_retrofit(tmp_path / "hf", *options)
    expected = weights(alone)
    alone.rename(tmp_path / "alone")
    with monkeypatch.context() as patch:
        patch.setattr("eat.training.checkpoints.RunCheckpoints.on_train_epoch_end", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_retrofit(tmp_path / "hf", *options)
    assert list((alone / "checkpoints").glob("features-*/train-*.npy"))
    monkeypatch.setattr("eat.training.features._compute", lambda *_: pytest.fail("features were computed again"))
    run_train(f"resume={alone}", defaults=False)
    torch.testing.assert_close(weights(alone), expected, rtol=0, atol=0)


@pytest.mark.usefixtures("evaluated")
def test_classes_under_other_names_are_said_on_the_command_line(run_train, run_retrofit, tmp_path):
    (dense,) = run_train(*DENSE)
    theirs = AdaptiveForSequenceClassification.from_pretrained(dense / "model").to_hugging_face()
    theirs.config.id2label, theirs.config.label2id = {0: "minus", 1: "plus"}, {"minus": 0, "plus": 1}
    theirs.save_pretrained(tmp_path / "hf")
    AutoTokenizer.from_pretrained(dense / "model").save_pretrained(tmp_path / "hf")
    with pytest.raises(
        ValueError, match=r"expected the classes \['bad', 'good'\].*: backbone=classifier backbone.labels"
    ):
        run_retrofit(tmp_path / "hf")
    folder = run_retrofit(tmp_path / "hf", "backbone=classifier", "backbone.labels=[good,bad]")
    (flipped,) = (tensor for name, tensor in weights(folder).items() if name.endswith("heads.3.out.bias"))
    (original,) = (tensor for name, tensor in weights(dense).items() if name.endswith("heads.3.out.bias"))
    assert torch.equal(flipped, original.flip(0))


def test_a_retrofit_names_what_is_wrong_with_the_classifier(run_retrofit, tmp_path):
    with pytest.raises(ValueError, match=r"retrofit: expected the folder or hub name of a fine-tuned classifier"):
        run_retrofit(tmp_path / "nowhere")
