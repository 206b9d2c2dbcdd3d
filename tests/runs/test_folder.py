"""Run folders: names, states, locks."""

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from transformers import pipeline

from eat.cli.compose import CONF, plain
from eat.cli.settings import register
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.runs.finished import FinishedRun
from eat.runs.folder import RunFolder
from eat.runs.naming import (
    COUNTED_ELSEWHERE,
    FRACTIONS,
    NOT_TRAINING,
    fingerprint,
    holdout_name,
    leaves,
    run_name,
    seedless_fingerprint,
    training_overrides,
)
from eat.training.backbones import TinyBackbone

CONFIG = {"seed": 0, "exit": {"name": "confidence"}, "data": {"root": "a", "batch_size": 32}, "logger": {}}


def test_the_fingerprint_names_the_training_not_its_evaluation():
    same = {"logger": {"csv": 1}, "data": {"batch_size": 32, "root": "b"}, "exit": {"name": "never"}, "seed": 0}
    assert fingerprint(CONFIG) == fingerprint(same)
    assert fingerprint(CONFIG) != fingerprint(CONFIG | {"seed": 1})
    assert fingerprint(CONFIG) != fingerprint(CONFIG | {"data": {"root": "a", "batch_size": 16}})
    assert len(fingerprint(CONFIG)) == 8


@pytest.mark.parametrize(
    "typed", ["schedule.anneal_epochs=3", "objective.temperature=4", "optimizer.weight_decay=0", "pruner.ratio=0"]
)
def test_a_number_has_one_name_however_it_is_typed(typed):
    register()
    with initialize_config_dir(CONF, version_base="1.3"):
        whole, fraction = (plain(compose("train", ["task=sst2", one])) for one in (typed, f"{typed}.0"))
    assert run_name(whole) == run_name(fraction)
    steps = whole | {"trainer": whole["trainer"] | {"val_check_interval": 1}}
    assert run_name(steps) != run_name(whole), "after every batch is not after every epoch"


def test_every_fraction_of_the_configurations_is_known():
    """So that a number which is typed without its fraction makes no other training."""
    known = {f"{section}.{key}" for section, keys in FRACTIONS.items() for key in keys}
    found, whole = set(), set()
    for file in Path(CONF).rglob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        group = file.relative_to(CONF).parts[0] if file.parent != Path(CONF) and "_global_" not in text else ""
        for key, value in leaves(yaml.safe_load(text) or {}, f"{group}." if group else ""):
            values = value if isinstance(value, list) else [value]
            found |= {key for one in values if isinstance(one, float)}
            whole |= {key for one in values if type(one) is int}
    apart = (*NOT_TRAINING, *COUNTED_ELSEWHERE, "trainer.val_check_interval", "evaluation", "search", "space", "name")
    found = {key for key in found if not any(f"{key}.".startswith(f"{place}.") for place in apart)}
    assert {key for key in found if not key.startswith(("search.", "benchmark."))} <= known
    assert not known & whole


def test_setting_aside_loses_nothing(tmp_path):
    run = RunFolder(tmp_path / "run")
    assert run.set_aside() is None
    for content in ("one", "two"):
        run.path.mkdir()
        (run.path / "file").write_text(content)
        run.set_aside()
    assert (tmp_path / "run.old-1" / "file").read_text() == "one"
    assert (tmp_path / "run.old-2" / "file").read_text() == "two"
    assert not run.path.exists()


def test_two_trainings_cannot_share_a_folder(tmp_path):
    run = RunFolder(tmp_path / "run")
    with run.locked(), pytest.raises(RuntimeError, match="another process is training in"), run.locked():
        pass
    with run.locked():
        assert [path.name for path in tmp_path.iterdir()] == [".run.lock"], "beside the folder, which may move away"
    assert not list(tmp_path.iterdir()), "released with the block, and nothing is left"


@pytest.mark.parametrize(
    ("changes", "heads"),
    [
        ({}, ""),
        ({"head_pooling": "cls"}, "cls-"),
        ({"objective": {"name": "joint", "self_weight": 0.5, "teacher": "runs/x"}}, "self_distill-distill-"),
        ({"objective": {"name": "two_stage", "stage": 0.5}, "head_pooling": "cls"}, "two_stage-cls-"),
        ({"holdout": {"name": "none"}}, ""),
    ],
)
def test_the_name_says_what_it_is(changes, heads):
    config = CONFIG | {
        "backbone": {"name": "minilm", "head_pooling": "mean"},
        "attention": {"name": "windowed", "window": 32},
        "pruner": {"name": "none"},
        "objective": {"name": "joint", "self_weight": 0.0, "teacher": None},
        "head_pooling": "mean",
        "budget": {"name": "laptop"},
        "holdout": {"name": "standard"},
    }
    config |= changes
    held_out = "holdout_none-" if "holdout" in changes else ""
    assert run_name(config) == f"minilm-windowed32-unpruned-{heads}laptop-{held_out}seed0-{fingerprint(config)}"


def test_overrides_that_make_another_training_are_told_from_those_that_do_not():
    typed = [
        "exit=patience",
        "+exit.threshold=0.8",
        "resume=runs/x",
        "logger=none",
        "task=rte",
        "++optimizer.lr=1",
        "~seed",
    ]
    assert training_overrides(typed) == ["task=rte", "++optimizer.lr=1", "~seed"]


def test_a_saved_tokenizer_cuts_where_the_model_ends(tmp_path):
    texts = ["a good film"] * 9
    backbone = build_tiny(max_length=24)
    tokenizer = backbone.tokenizer(lambda: texts, tmp_path / "tokenizer")
    assert tokenizer.model_max_length == 24
    tokenizer.model_max_length = 10**30  # as another backbone's tokenizer says
    model = AdaptiveForSequenceClassification.from_backbone(backbone.source(tokenizer), num_labels=2, seed=0)
    run = RunFolder(tmp_path)
    run.save_model(model, tokenizer)
    classify = pipeline("text-classification", model=str(run.model), device="cpu")
    assert classify.tokenizer.model_max_length == model.backbone.max_length == 24
    assert classify("a good film " * 40, truncation=True)[0]["label"] in ("LABEL_0", "LABEL_1")


def build_tiny(max_length):
    return TinyBackbone(
        name="tiny", model_type="bert", vocab_size=50, dim=16, num_layers=2, num_heads=2, intermediate_size=24,
        dropout=0.1, initializer_range=0.1, max_length=max_length, head_pooling="cls",
    )  # fmt: skip


def test_only_finished_runs_are_offered(tmp_path):
    for name, file in (
        ("whole", "model/config.json"),
        ("traced", "trace/a.parquet"),
        ("half", "checkpoints/last.ckpt"),
    ):
        for path in (tmp_path / name / "config.yaml", tmp_path / name / file):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
    (tmp_path / "whole").rename(tmp_path / "whole.old-1")
    with pytest.raises(FileNotFoundError, match=f"run: no folder {tmp_path}/x; runs near it: {tmp_path}/traced$"):
        FinishedRun(tmp_path / "x")
    with pytest.raises(ValueError, match="baseline_run: expected a folder, got ''"):
        FinishedRun("", "baseline_run")


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"data": {"threshold_examples": 0, "certification_examples": 0}}, "none"),
        ({"data": {"threshold_examples": 500, "certification_examples": 1500}}, "standard"),  # before there were names
        ({"data": {}}, "none"),
        (
            {
                "data": {"threshold_examples": 9, "certification_examples": 8},
                "holdout": {"name": "mine", "threshold_examples": 9, "certification_examples": 8},
            },
            "mine",
        ),
        (
            {
                "data": {"threshold_examples": 2000, "certification_examples": 0},
                "holdout": {"name": "standard", "threshold_examples": 500, "certification_examples": 1500},
            },
            "2,000 + 0",
        ),
        (
            {
                "data": {"threshold_examples": 500, "certification_examples": 0},
                "holdout": {"name": "none", "threshold_examples": 500, "certification_examples": 0},
            },
            "500 + 0",
        ),
    ],
)
def test_what_is_held_out_is_named_by_its_numbers(config, name):
    assert holdout_name(config) == name


def test_seeds_of_one_training_have_one_name_whoever_taught_them():
    one = {"objective": {"name": "joint", "teacher": "runs/a-seed0"}, "seed": 0}
    other = {"objective": {"name": "joint", "teacher": "runs/a-seed1"}, "seed": 1}
    assert seedless_fingerprint(one) == seedless_fingerprint(other)
    assert seedless_fingerprint(one) != seedless_fingerprint(
        {"objective": {"name": "joint", "teacher": None}, "seed": 0}
    )
