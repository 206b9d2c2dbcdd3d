"""`eat train` where a text has any number of labels: learned, weighed, distilled, retrofitted and evaluated."""

import csv
import json
import random
import sys

import pytest
from transformers import AutoTokenizer

from eat import AdaptiveForSequenceClassification
from eat.cli import train

LABELS = {"praise": ("good", "fine", "great"), "food": ("soup", "bread", "tea"), "rude": ("dull", "awful", "poor")}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder where everything goes, with sentences in which a word says whether each label applies."""
    draw = random.Random(0)
    lines = []
    for number in range(700):
        has = [int(draw.random() < 0.4) for _ in LABELS]
        words = [f"word{draw.randrange(30)}" for _ in range(draw.randrange(2, 7))] + [f"number{number}"]
        words += [draw.choice(own) for own, applies in zip(LABELS.values(), has, strict=True) if applies]
        draw.shuffle(words)
        lines.append(",".join([" ".join(words), *map(str, has)]) + "\n")
    folder = tmp_path_factory.mktemp("sets")
    (folder / "train.csv").write_text(",".join(["text", *LABELS]) + "\n" + "".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HYDRA_FULL_ERROR", "1")
        yield folder


@pytest.fixture(scope="module")
def run_train(place):
    """Return a function that calls `eat train` with overrides and gives back the run's folder."""
    task = ["task=file", f"data.train={place / 'train.csv'}", f"data.label=[{','.join(LABELS)}]", "trainer=cpu"]
    task += [f"data.cache_dir={place / 'cache'}", "data.max_length=32", "data.batch_size=16", "holdout=none"]
    task += ["data.threshold_examples=20", "data.certification_examples=20", "evaluation.stages=[quality]"]
    tiny = ["backbone=tiny", "backbone.dim=32", "backbone.num_layers=2", "backbone.intermediate_size=32"]
    tiny += ["backbone.vocab_size=120", "pruner=none", "attention=full", "head_depths=[1]", "optimizer.lr=3e-3"]

    def call(*overrides, backbone=tiny):
        before = {path.parent for path in place.glob("runs/file/*/config.yaml")}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("eat.evaluation.report.section.draw", lambda *_: None)
            patch.setattr(sys, "argv", ["train.py", *task, *backbone, *overrides])
            train.main()
        (folder,) = {path.parent for path in place.glob("runs/file/*/config.yaml")} - before
        return folder

    return call


@pytest.fixture(scope="module")
def trained(run_train):
    return run_train("budget.epochs=8", "exit.threshold=0.55", "objective.class_weights=balanced")


def test_labels_are_learned_and_easy_texts_exit_early(trained):
    with (trained / "report" / "results.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["split"], row["exit"]) == ("validation", "confidence")]
    (own,) = (row for row in rows if row["metric"] == "micro_f1")
    assert float(own["value"]) > 0.85 and float(own["avg_depth"]) < 2
    model = AdaptiveForSequenceClassification.from_pretrained(trained / "model")
    assert model.config.problem_type == "multi_label_classification"
    assert list(model.config.id2label.values()) == list(LABELS)
    outcome = json.loads((trained / "training.json").read_text())
    assert outcome["metric"] == "micro_f1" and all(weight > 1 for weight in outcome["class_weights"].values())


@pytest.mark.parametrize(
    "objective",
    ["self_distill", "two_stage", "two_stage_distill", "alternating", "soft_routing", "depth_weighted"],
)
def test_every_objective_trains(run_train, objective):
    folder = run_train(f"objective={objective}", "budget.max_steps=4", "objective.focal_gamma=1.0")
    assert (folder / "model" / "model.safetensors").is_file()


def test_a_teacher_and_a_fine_tuned_classifier_must_have_several_labels_too(run_train, trained, tmp_path):
    theirs = AdaptiveForSequenceClassification.from_pretrained(trained / "model").to_hugging_face()
    theirs.save_pretrained(tmp_path / "hf")
    AutoTokenizer.from_pretrained(trained / "model").save_pretrained(tmp_path / "hf")
    few = ("budget.max_steps=4", "seed=1")
    teacher = ("objective=distill", f"objective.teacher={tmp_path / 'hf'}")
    assert (run_train(*teacher, *few) / "model" / "model.safetensors").is_file()
    retrofit = [f"retrofit={tmp_path / 'hf'}"]
    retrofitted = run_train(*few, "head_depths=[1]", backbone=retrofit)
    model = AdaptiveForSequenceClassification.from_pretrained(retrofitted / "model")
    assert model.config.problem_type == "multi_label_classification"
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    (tmp_path / "hf" / "config.json").write_text(json.dumps(config | {"problem_type": None}))
    message = "expected problem_type 'multi_label_classification' exactly where data.kind is multi_label, .* None"
    with pytest.raises(ValueError, match=f"objective.teacher: {message}"):
        run_train(*teacher, *few, "seed=2")
    with pytest.raises(ValueError, match=f"retrofit: {message}"):
        run_train(*few, "head_depths=[1]", "seed=2", backbone=retrofit)
