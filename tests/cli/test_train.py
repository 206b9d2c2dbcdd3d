"""`eat train`, in this process: what it leaves behind, what it does when asked again, and after a kill.

Trainings are shared: the folders that a test does not name are those of earlier tests, and are there already.
"""

import csv
import json
import os
import random
import re
import shutil
import signal
import sys

import pytest
import torch
import yaml
from hydra.errors import HydraException
from lightning.pytorch.utilities.exceptions import SIGTERMException
from safetensors.torch import load_file
from transformers import AutoTokenizer

from eat import AdaptiveForSequenceClassification
from eat.cli import train
from eat.evaluation import Report, evaluate_run
from eat.runs.folder import RunFolder
from eat.training.module import AdaptiveModule
from eat.training.objectives import OBJECTIVES

SCORES = ("data.label=score", "data.kind=regression")
DENSE = ("attention=full", "pruner.ratio=0", "exit=never", "head_depths=null")
WORDS = {"good": 1, "fine": 1, "great": 1, "bad": 0, "poor": 0, "dull": 0}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder where everything goes, with 100 sentences of a made-up language in which one word decides."""
    draw = random.Random(0)
    lines = []
    for number in range(100):
        word = draw.choice(list(WORDS))
        filler = [f"word{draw.randrange(40)}" for _ in range(draw.randrange(3, 12))]
        filler.insert(draw.randrange(len(filler)), word)
        lines.append(f"{' '.join(filler)} number{number},{'good' if WORDS[word] else 'bad'},{WORDS[word] + 0.5}\n")
    folder = tmp_path_factory.mktemp("train")
    (folder / "train.csv").write_text("body,class,score\n" + "".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HYDRA_FULL_ERROR", "1")
        yield folder


@pytest.fixture(scope="module")
def asked():
    """What the evaluations that were left out were asked for."""
    return []


@pytest.fixture(scope="module")
def run_train(place, asked):
    """Return a function that calls `eat train` with overrides and gives back the run folders that were not there."""
    task = ["task=file", f"data.train={place / 'train.csv'}", "data.text=body", "data.label=class"]
    task += [f"data.cache_dir={place / 'cache'}", "data.max_length=32", "data.batch_size=8", "trainer=cpu"]
    task += ["data.threshold_examples=20", "data.certification_examples=20", "evaluation.stages=[quality]"]
    tiny = ["backbone=tiny", "backbone.dim=16", "backbone.num_layers=3", "backbone.intermediate_size=32"]
    tiny += ["backbone.vocab_size=200", "pruner.depths=[1]", "head_depths=[2]", "optimizer.lr=1e-2", "budget.epochs=1"]
    defaults = {"tiny": [*task, *tiny], "retrofit": [*task, "budget.epochs=2"], "resume": []}

    def left_out(run, **options):
        asked.append((run, options))
        return Report(run, [], "")

    def call(*overrides, kind="tiny", flags=(), evaluate=False):
        before = {path.parent for path in place.glob("runs/file/*/config.yaml")}
        with pytest.MonkeyPatch.context() as patch:
            if not evaluate:
                patch.setattr(train, "evaluate_run", left_out)
            patch.setattr(sys, "argv", ["train.py", *flags, *defaults[kind], *overrides])
            train.main()
        return sorted({path.parent for path in place.glob("runs/file/*/config.yaml")} - before)

    return call


@pytest.fixture(scope="module")
def trained(run_train):
    (folder,) = run_train("callbacks.checkpoints.every_n_steps=3")
    return folder


@pytest.fixture(scope="module")
def dense(run_train):
    (folder,) = run_train(*DENSE)
    return folder


@pytest.fixture
def export(dense, tmp_path):
    """Return a function that writes the dense run as a Hugging Face classifier, with names for its classes."""

    def write(*names):
        model = AdaptiveForSequenceClassification.from_pretrained(dense / "model").to_hugging_face()
        if names:
            model.config.id2label = dict(enumerate(names))
            model.config.label2id = {name: index for index, name in enumerate(names)}
        model.save_pretrained(tmp_path / "hf")
        AutoTokenizer.from_pretrained(dense / "model").save_pretrained(tmp_path / "hf")
        return tmp_path / "hf"

    return write


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


def model_of(folder):
    return AdaptiveForSequenceClassification.from_pretrained(folder / "model")


def test_a_run_folder_holds_everything(trained, asked, place):
    assert trained.name.startswith("tiny-windowed32-l2_norm-paper-seed0-")
    assert {path.name for path in trained.iterdir()} == {
        *("config.yaml", "environment.json", "metrics.csv", "training.json", "checkpoints", "model")
    }
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["trainer"]["max_epochs"] == 1
    assert "paths" not in config
    assert str(place) not in (trained / "environment.json").read_text()
    assert json.loads((trained / "environment.json").read_text())["seed"] == 0
    assert {"best.ckpt", "last.ckpt", "tokenizer"} == {path.name for path in (trained / "checkpoints").iterdir()}
    run, options = asked[0]
    assert (run.resolve(), options["exit"]) == (trained, {}), "the run's own exit, which may be certified later"
    assert options["stages"] == ["quality"]
    model = model_of(trained)
    assert model.config.id2label == {0: "bad", 1: "good"}
    assert model.head_depths == (2, 3)
    assert not list(place.glob("outputs")), "Hydra leaves nothing"


def test_a_run_notes_by_what_its_weights_were_chosen_and_what_its_classes_weighed(run_train):
    rare = ["objective.class_weights={bad: 3}", "objective.focal_gamma=2.0", "best.metric=macro_f1"]
    (folder,) = run_train(*rare)
    assert folder.name.startswith("tiny-windowed32-l2_norm-weighted-focal-paper-seed0-")
    outcome = json.loads((folder / "training.json").read_text())
    assert (outcome["metric"], outcome["stopped_early"]) == ("macro_f1", None)
    assert outcome["class_weights"] == {"bad": 3.0, "good": 1.0}
    with pytest.raises(ValueError, match=r"best.metric: expected one of \['accuracy', 'f1', .* got 'pearson'"):
        run_train("best.metric=pearson")
    with pytest.raises(ValueError, match=r"objective.class_weights: expected some of the classes \['bad', 'good'\]"):
        run_train("objective.class_weights={god: 3}")


def test_an_evaluation_finds_what_the_training_validated(trained, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "copy")
    with (trained / "metrics.csv").open(newline="") as handle:
        validated = [float(row["val/accuracy"]) for row in csv.DictReader(handle) if row["val/accuracy"]]
    report = evaluate_run(copy, exit={"name": "never"}, stages=["quality"], device="cpu")
    with (report.folder / "results.csv").open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if (row["split"], row["metric"]) == ("threshold", "accuracy")]
    assert [float(row["value"]) for row in rows] == [pytest.approx(max(validated), abs=1e-6)]


def test_the_same_command_again_evaluates_and_fresh_trains_anew(run_train, trained, asked):
    written = (trained / "model" / "model.safetensors").stat().st_mtime_ns
    assert run_train("exit.threshold=0.6") == []
    assert (trained / "model" / "model.safetensors").stat().st_mtime_ns == written
    assert asked[-1][1]["exit"]["threshold"] == 0.6
    before = weights(trained)
    assert run_train("fresh=true") == [trained.with_name(f"{trained.name}.old-1")]
    assert (trained / "model" / "model.safetensors").stat().st_mtime_ns > written
    torch.testing.assert_close(weights(trained), before, rtol=0, atol=0)


def test_an_unfinished_run_is_continued_to_the_same_model(run_train, trained, place, capsys):
    elsewhere = ("paths.runs=killed", "callbacks.checkpoints.every_n_steps=3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "save_model", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr("eat.training.checkpoints.RunCheckpoints.on_train_epoch_end", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            run_train(*elsewhere)
    killed = place / "killed" / "file" / trained.name
    assert not (killed / "model").exists()
    # Not by the same command this time, but from its folder.
    capsys.readouterr()
    run_train(f"resume={killed}", "exit.threshold=0.6", kind="resume")
    said = capsys.readouterr().out
    assert "was not finished; continuing it" in said
    assert "continuing at step" in said
    torch.testing.assert_close(weights(killed), weights(trained), rtol=0, atol=0)
    assert {path.name for path in killed.iterdir()} == {path.name for path in trained.iterdir()}, "and no lock"


def test_resuming_with_another_training_in_mind_is_refused(run_train, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"resume: expected a run folder with config.yaml"):
        run_train(f"resume={tmp_path}", kind="resume")
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(ValueError, match=r"so optimizer.lr=1 cannot change"):
        run_train(f"resume={tmp_path}", "optimizer.lr=1", "exit.threshold=0.5", kind="resume")


def test_what_trains_nothing_may_be_typed_at_a_resumption(trained, asked, run_train, place):
    folder = shutil.copytree(trained, place / "copied")
    run_train(f"resume={folder}", "exit=never", f"data.cache_dir={place / 'other'}", kind="resume")
    assert asked[-1][1]["exit"] == {"name": "never"}
    assert asked[-1][1]["data_cache_dir"] == str(place / "other")
    run_train(f"resume={folder}", kind="resume")
    assert asked[-1][1]["exit"] == {}, "the run's own, which may be certified"
    assert asked[-1][1]["data_cache_dir"] is None, "a saved one is not taken over"


def swap_labels(file):
    file.write_text(file.read_text().replace(",good,", ",x,").replace(",bad,", ",good,").replace(",x,", ",bad,"))


@pytest.mark.parametrize("finished", [True, False])
def test_other_data_under_the_same_command_stop_it(run_train, place, finished, capsys):
    file = place / f"other-{finished}.csv"
    shutil.copy(place / "train.csv", file)
    command = (f"data.train={file}", "budget.max_steps=3", "callbacks.checkpoints.every_n_steps=1")
    (folder,) = run_train(*command)
    if not finished:
        shutil.rmtree(folder / "model")
    swap_labels(file)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    with pytest.raises(ValueError, match=r"data: .* was trained on other data than those .* fresh=true trains anew"):
        run_train(*command)
    with pytest.raises(ValueError, match=r"data: .* was trained on other data than those"):
        run_train(f"resume={folder}", kind="resume")
    assert "is trained already" not in capsys.readouterr().out
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert run_train(*command, "fresh=true") == [folder.with_name(f"{folder.name}.old-1")]
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"data\.train: no file"):
        run_train(*command)


@pytest.mark.parametrize(
    ("override", "message"),
    [("paths.runs=", "paths.runs: expected a folder, got ''"), ("resume=", "resume: expected a folder, got ''")],
)
def test_an_empty_folder_is_not_the_current_one(run_train, override, message):
    with pytest.raises(ValueError, match=message):
        run_train(override)


def test_an_empty_folder_of_runs_is_refused_before_a_sweep(run_train):
    with pytest.raises(SystemExit, match=r"paths\.runs: expected a folder, got ''"):
        run_train("paths.runs=", "seed=0,1", flags=("-m",))


def test_a_multirun_over_exits_trains_once_and_ends_with_one_table(run_train, trained, place):
    assert run_train("exit.threshold=0.6,0.9", "hydra.sweep.dir=exits", flags=("-m",), evaluate=True) == []
    assert len(list(trained.glob("report/**/summary.md"))) == 2
    assert {"combined.csv", "combined.md", "combined.png"} <= {path.name for path in (place / "exits").iterdir()}


def test_a_multirun_with_a_failed_job_ends_with_the_others_table_and_says_so(run_train, trained, place, capsys):
    jobs = ("exit.threshold=0.6,2.0,0.9", "hydra.sweep.dir=some_fail")
    with pytest.raises(SystemExit) as stopped:
        run_train(*jobs, flags=("-m",), evaluate=True)
    assert str(stopped.value.code) == "error: 1 of 3 jobs failed: job 1 (exit.threshold=2.0); see above"
    assert "error: exit.threshold: expected a number in [0, 1], got 2.0" in capsys.readouterr().err
    said = (place / "some_fail" / "combined.md").read_text()
    assert "confidence 0.6" in said and "confidence 0.9" in said
    assert "- failed: job 1 (exit.threshold=2.0): exit.threshold: expected a number in [0, 1], got 2.0" in said


def test_without_stages_nothing_is_evaluated(run_train, place):
    options = ("evaluation.stages=[]", "paths.runs=alone", "budget.max_steps=2")
    run_train(*options, evaluate=True)
    (folder,) = (place / "alone" / "file").iterdir()
    assert (folder / "model" / "config.json").is_file() and not (folder / "trace").exists()


def test_a_class_of_which_no_row_is_trained_on_is_warned_of(run_train, capsys):
    run_train("budget.train_examples=1", "budget.max_steps=1", "paths.runs=few")
    said = capsys.readouterr().out
    assert re.search(r"train: no row that is left to train on has \['(good|bad)'\]: nothing can be learned", said)
    assert "rows_of_a_class 0 to 1" in said


def test_a_training_that_cannot_begin_leaves_no_folder(run_train, place):
    with pytest.raises(ValueError, match=r"pruner.depths"):
        run_train("pruner.depths=[3]", "paths.runs=never")
    assert not list((place / "never" / "file").iterdir())


def test_a_half_written_tokenizer_is_named_and_one_that_was_cut_off_is_made_anew(run_train, trained, place):
    options = ("paths.runs=tokenizers", "budget.max_steps=2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning.Trainer.fit", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_train(*options)
    (folder,) = (place / "tokenizers" / "file").iterdir()
    (folder / "checkpoints" / "tokenizer" / "tokenizer.json").write_text('{"version": "1.0", "trunc')
    run_train(*options)  # nothing rests on it yet
    assert (folder / "model" / "config.json").is_file()
    shutil.rmtree(folder / "model")
    (folder / "checkpoints" / "tokenizer" / "tokenizer.json").write_text('{"version": "1.0", "trunc')
    with pytest.raises(ValueError, match=r"tokenizer/tokenizer.json or a file beside it is damaged .* delete .*anew"):
        run_train(*options)


@pytest.mark.parametrize("objective", sorted(OBJECTIVES.keys() - {"joint", "two_stage"}))
def test_every_objective_trains_to_a_model_with_all_heads(run_train, objective):
    (folder,) = run_train(f"objective={objective}", "budget.max_steps=4")
    assert folder.name.startswith(f"tiny-windowed32-l2_norm-{objective}-paper-seed0-")
    assert model_of(folder).head_depths == (2, 3)


def test_a_compressed_training_saves_a_plain_model_with_zeros(run_train, asked):
    (folder,) = run_train("compression=magnitude", "compression.keep=0.25", "budget.max_steps=4")
    assert folder.name.startswith("tiny-windowed32-l2_norm-magnitude-paper-seed0-")
    saved = weights(folder)["encoder.blocks.1.inner.weight"]
    assert (saved != 0).sum() == 0.25 * saved.numel()
    assert model_of(folder).encoder.blocks[1].inner.weight.count_nonzero() == 0.25 * saved.numel()
    found = json.loads((folder / "training.json").read_text())["compression"]
    assert found["nonzero"] == 0.25 * found["whole"] and found["left"] == found["whole"]


def test_removed_heads_and_neurons_are_gone_from_what_is_saved_and_evaluated(run_train):
    more = ("compression.multiple=4", "budget.max_steps=4", "evaluation.stages=[quality]")
    (folder,) = run_train("compression=structured", *more, evaluate=True)
    model = model_of(folder)
    assert model.backbone.block_inner == [16] * 3 and model.encoder.blocks[2].outer.in_features == 16
    report = (folder / "report" / "summary.md").read_text()
    assert "compression structured" in report and "Compression structured: the matrices" in report


def test_a_multirun_over_objectives_says_in_its_table_which_is_which(run_train, place):
    choices = ("objective=self_distill,two_stage", "budget.max_steps=4", "hydra.sweep.dir=objectives")
    folders = run_train(*choices, flags=("-m",), evaluate=True)
    assert [folder.name.split("-")[3] for folder in folders] == ["self_distill", "two_stage"]
    assert all(model_of(folder).head_depths == (2, 3) for folder in folders)
    with (place / "objectives" / "combined.csv").open(newline="") as handle:
        assert {row["objective"] for row in csv.DictReader(handle)} == {"joint+self_distill", "two_stage"}


@pytest.mark.parametrize("objective", ["two_stage", "two_stage_distill"])
def test_stages_on_a_regression(run_train, objective):
    more = ("objective.stage=0.4", "budget.max_steps=4", "exit=never")
    (folder,) = run_train(f"objective={objective}", *more, *SCORES)
    assert (folder / "model" / "model.safetensors").is_file()


def test_regression_and_a_random_pruner_with_everything_else_off(run_train):
    off = ("attention=full", "pruner=random", "exit=never", "head_depths=null", "budget.max_steps=4")
    (folder,) = run_train(*off, *SCORES)
    model = model_of(folder)
    assert model.config.num_labels == 1
    assert model.head_depths == (3,)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimiser.lr=1"], "optimiser"),
        (["evaluation.stages=[qualty]"], "stages: .* got 'qualty' .did you mean 'quality'"),
        (["evaluation.device=cudda"], "device: expected auto, cpu or cuda"),
        (["exit=sometimes"], "confidence"),
        (["pruner.depths=[3]"], "pruner.depths"),
        (["+objective.stage=0.5"], "objective.stage: objective 'joint' takes"),
        (["objective=soft_routing", "exit=never", *SCORES], "'soft_routing' needs class prob"),
        (["objective=two_stage", "head_depths=[]"], "head_depths: .* at least one depth before the last"),
    ],
)
def test_what_is_wrong_is_named(run_train, overrides, message):
    with pytest.raises((HydraException, ValueError), match=message):
        run_train("seed=1", "paths.runs=wrong", *overrides)


def test_the_configuration_can_be_shown(run_train, capsys):
    run_train(flags=("--cfg", "job"))
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["pruner"] == {"name": "l2_norm", "depths": [1], "ratio": 0.3, "min_tokens": 1}


def test_a_signal_is_said_and_not_taken_for_success(run_train, monkeypatch, capsys):
    monkeypatch.setattr("lightning.Trainer.fit", lambda *_, **__: (_ for _ in ()).throw(SIGTERMException))
    with pytest.raises(SystemExit) as stopped:
        run_train("paths.runs=stopped")
    assert stopped.value.code == 143
    assert "the same command continues" in capsys.readouterr().out


def test_a_signal_leaves_a_checkpoint_of_where_the_training_was(run_train, trained, place, monkeypatch):
    steps = []

    def stopped_at_the_fifth(module, batch, *args):
        steps.append(1)
        if len(steps) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(module, batch, *args)

    step = AdaptiveModule.training_step
    with monkeypatch.context() as patch:
        patch.setattr(AdaptiveModule, "training_step", stopped_at_the_fifth)
        with pytest.raises(SystemExit):
            run_train("paths.runs=signalled")
    folder = place / "signalled" / "file" / trained.name
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 5
    run_train("paths.runs=signalled")
    torch.testing.assert_close(weights(folder), weights(trained), rtol=0, atol=0)


def test_the_objective_of_a_teacher_is_refused_without_one(run_train):
    with pytest.raises(ValueError, match=r"^objective\.teacher: expected a folder, or experiment:<name>, .* got None"):
        run_train("objective=distill", "objective.teacher=null")


def test_a_finished_run_teaches_another(run_train, trained):
    every_step = ("trainer.log_every_n_steps=1", "logger=tensorboard", "budget.max_steps=4")
    taught = ("objective=distill", f"objective.teacher={trained}", "objective.self_weight=0.5")
    (student,) = run_train(*taught, *every_step)
    header = (student / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/supervised", "train/distillation", "train/self_distillation"} <= set(header)
    assert list((student / "tensorboard").iterdir())


def test_a_finished_run_is_retrofitted_and_evaluated_like_any_other(run_train, dense):
    (folder,) = run_train(f"retrofit={dense}", "exit.threshold=0.6", kind="retrofit", evaluate=True)
    assert {path.name for path in folder.iterdir()} == {
        *("config.yaml", "environment.json", "metrics.csv", "training.json", "checkpoints", "model", "trace", "report")
    }
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    header, *_ = (folder / "metrics.csv").read_text().splitlines()
    assert {"val/accuracy_early", "val/accuracy_depth_1"} <= set(header.split(","))
    assert yaml.safe_load((folder / "config.yaml").read_text())["objective"]["self_weight"] > 0
    before, after = weights(dense), weights(folder)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {name.split(".")[2] for name in after.keys() - before.keys()} == {"1", "2"}


def test_an_export_is_retrofitted_with_pruning_and_a_killed_one_goes_on(run_train, export, monkeypatch):
    options = (f"retrofit={export()}", "pruner=l2_norm", "pruner.depths=[1]", "head_depths=[2]")
    options += ("callbacks.checkpoints.every_n_steps=3",)
    (alone,) = run_train(*options, kind="retrofit")
    expected = weights(alone)
    shutil.rmtree(alone)
    with monkeypatch.context() as patch:
        patch.setattr("eat.training.checkpoints.RunCheckpoints.on_train_epoch_end", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_train(*options, kind="retrofit")
    assert list((alone / "checkpoints").glob("features-*/train-*.npy"))
    monkeypatch.setattr("eat.training.features._compute", lambda *_: pytest.fail("features were computed again"))
    run_train(f"resume={alone}", kind="resume")
    torch.testing.assert_close(weights(alone), expected, rtol=0, atol=0)


def test_classes_under_other_names_are_said_on_the_command_line(run_train, dense, export):
    theirs = export("minus", "plus")
    with pytest.raises(
        ValueError, match=r"expected the classes \['bad', 'good'\].*: backbone=classifier backbone.labels"
    ):
        run_train(f"retrofit={theirs}", kind="retrofit")
    labels = ("backbone=classifier", "backbone.labels=[good,bad]", "budget.max_steps=2")
    (folder,) = run_train(f"retrofit={theirs}", *labels, kind="retrofit")
    (flipped,) = (tensor for name, tensor in weights(folder).items() if name.endswith("heads.3.out.bias"))
    (original,) = (tensor for name, tensor in weights(dense).items() if name.endswith("heads.3.out.bias"))
    assert torch.equal(flipped, original.flip(0))


def test_a_retrofit_names_what_is_wrong_with_classifier_or_backbone(run_train, tmp_path):
    with pytest.raises(ValueError, match=r"backbone: retrofit= brings the encoder itself, so leave backbone=tiny out"):
        run_train("retrofit=x", "backbone=tiny", kind="retrofit")
    with pytest.raises(ValueError, match=r"retrofit: expected the folder or hub name of a fine-tuned classifier"):
        run_train(f"retrofit={tmp_path / 'nowhere'}", kind="retrofit")
