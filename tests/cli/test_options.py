"""What is typed for a training counts: it is refused by its key, in one line, or something follows from it."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue

from eat.cli import settings
from eat.cli.compose import CONF, plain
from eat.cli.options import check_folders, check_training
from eat.runs.naming import ADDED, NOT_TRAINING, fingerprint
from eat.training.objectives import OBJECTIVES

settings.register()
GROUPS = (
    *("attention", "backbone", "budget", "callbacks", "compression"),
    *("exit", "logger", "objective", "pruner", "task", "trainer"),
)
FILES = [path for group in GROUPS for path in sorted((Path(CONF) / group).glob("*.yaml"))]


REFUSED = [
    ("seed=abc", "seed: expected an integer of 0 or more, got 'abc'"),
    ("seed=1.5", "seed: expected an integer of 0 or more, got 1.5"),
    ("seed=-1", "seed: expected an integer of 0 or more, got -1"),
    ("seed=4294967296", r"seed: expected an integer below 2\^32, got 4294967296"),
    ("fresh=1", "fresh: expected true or false, got 1"),
    ("head_depths=[a]", "head_depths: expected an integer of 1 or more, got 'a'"),
    ("head_depths=3", "head_depths: expected a list of depths"),
    ("head_pooling=max", "head_pooling: expected one of"),
    ("optimizer=5", "optimizer: expected optimizer.name=value, got 5"),
    ("optimizer.lr=abc", "optimizer.lr: expected a number of 0 or more, got 'abc'"),
    ("optimizer.lr=-1", "optimizer.lr: expected a number of 0 or more, got -1"),
    ("optimizer.weight_decay=x", "optimizer.weight_decay: expected"),
    ("optimizer.betas=[0.9]", "optimizer.betas: expected two numbers"),
    ("optimizer.eps=0", "optimizer.eps: expected a number above 0"),
    ("scheduler.warmup_ratio=1", r"scheduler.warmup_ratio: expected a number in \[0, 1\)"),
    ("schedule.warmup_epochs=-1", "schedule.warmup_epochs: expected a number of 0 or more"),
    ("data.batch_size=0", "data.batch_size: expected an integer of 1 or more, got 0"),
    ("data.eval_batch_size=true", "data.eval_batch_size: expected an integer of 1 or more, got True"),
    ("data.train_examples=0", "data.train_examples: expected an integer of 1 or more, or null, got 0"),
    ("data.threshold_examples=-1", "data.threshold_examples: expected an integer of 0 or more, got -1"),
    ("data.num_workers=-2", "data.num_workers: expected an integer of 0 to 1024, got -2"),
    ("data.max_length=x", "data.max_length: expected an integer of 3 or more, got 'x'"),
    ("data.group_by_length=2", "data.group_by_length: expected true or false, got 2"),
    ("+data.bach_size=3", r"data.bach_size: expected one of .* \(did you mean 'batch_size'\?\)"),
    ("+data.text=body", "data.text: expected one of"),
    ("+sead=3", r"sead: expected one of .* \(did you mean 'seed'\?\)"),
    ("+budget.steps=3", "budget.steps: expected one of"),
    ("budget.epochs=0", "budget.epochs: expected an integer of 1 or more, got 0"),
    ("budget.epochs=abc", "budget.epochs: expected an integer of 1 or more, got 'abc'"),
    ("budget.max_steps=0", "budget.max_steps: expected an integer of 1 or more, got 0"),
    ("budget.epochs=-1", "budget.epochs: expected a limit here or as budget.max_steps"),
    ("trainer.max_epochs=0", "trainer.max_epochs: expected an integer of 1 or more, got 0"),
    ("trainer.max_steps=x", "trainer.max_steps: expected an integer of 1 or more, got 'x'"),
    ("trainer.threads=0", "trainer.threads: expected an integer of 1 to 1024, got 0"),
    ("trainer.threads=100000", "trainer.threads: expected an integer of 1 to 1024, got 100000"),
    ("data.num_workers=100000", "data.num_workers: expected an integer of 0 to 1024, got 100000"),
    ("data.cache_dir=5", "data.cache_dir: expected a folder, got 5"),
    ("data.root=[]", "data.root: expected a folder, got "),
    ("callbacks={}", "callbacks.checkpoints: expected a value, got none"),
    ("+logger.csv.folder=x", "logger.csv.folder: expected none, eat gives it itself; got 'x'"),
    ("+trainer.default_root_dir=x", "trainer.default_root_dir: expected none, eat gives it itself"),
    ("+trainer.logger=true", "trainer.logger: expected none, eat gives it itself"),
    ("+trainer.callbacks=[]", "trainer.callbacks: expected none, eat gives it itself"),
    ("trainer.num_nodes=2", "trainer.num_nodes: expected 1, got 2: eat starts the processes of one machine"),
    ("trainer.num_nodes=x", "trainer.num_nodes: expected an integer of 1 or more, got 'x'"),
    ("trainer.devices=64", "data.batch_size: expected an example for each of 64 devices, .* got 32"),
    ("+trainer.strategy=fsdp", r"trainer.strategy: expected one of \['auto', 'ddp'\], got 'fsdp'"),
    ("+trainer.use_distributed_sampler=true", "trainer.use_distributed_sampler: expected false, got True"),
    ("trainer.devices=x", "trainer: "),
    ("trainer.accelerator=3", "trainer.accelerator: expected a name"),
    ("trainer.accelerator=foo", "trainer: .*foo"),
    ("trainer.precision=7", "trainer.precision: expected a name"),
    ("trainer.gradient_clip_val=abc", "trainer.gradient_clip_val: expected a number of 0 or more, got 'abc'"),
    ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches: expected an integer of 1 or more"),
    ("trainer.val_check_interval=1.5", r"trainer.val_check_interval: expected a number in \(0, 1\]"),
    ("trainer.log_every_n_steps=x", "trainer.log_every_n_steps: expected an integer of 0 or more"),
    ("+trainer.devises=2", r"trainer.devises: no such argument \(did you mean 'devices'\?\)"),
    ("callbacks.checkpoints.every_n_steps=0", "callbacks.checkpoints.every_n_steps: expected an integer of 1"),
    ("callbacks.checkpoints.every_minutes=0", "callbacks.checkpoints.every_minutes: expected a number above 0"),
    ("callbacks.early_stopping.patience=x", "callbacks.early_stopping.patience: expected an integer of 0 or more"),
    ("best.metric=accurracy", r"best.metric: expected one of .* \(did you mean 'accuracy'\?\)"),
    ("best.metric=5", "best.metric: expected one of"),
    ("callbacks.progress.every_s=x", "callbacks.progress.every_s: expected a number of 0 or more"),
    ("backbone.dropout=x", r"backbone.dropout: expected a number in \[0, 1\), got 'x'"),
    ("backbone.num_layers=0", "backbone.num_layers: expected an integer of 1 or more, got 0"),
    ("backbone.num_heads=5", "backbone.num_heads: expected a divisor of backbone.dim=64, got 5"),
    ("backbone.vocab_size=-1", "backbone.vocab_size: expected an integer of 1 or more, got -1"),
    ("+backbone.foo=1", "backbone: .* unexpected keyword argument 'foo'"),
    ("objective.temperature=0", "objective.temperature: expected a number above 0"),
    ("objective.teacher=nowhere", "objective.teacher: expected the folder of a fine-tuned classifier"),
    ("pruner.ratio=x", "pruner.ratio: expected a number"),
    ("compression.name=magnitued", r"compression.name: expected one of .* \(did you mean 'magnitude'\?\)"),
    ("+compression.keep=0.5", "compression.keep: compression 'none' takes no arguments, got 'keep'"),
    ("exit.threshold=2", "exit.threshold: expected a number"),
    ("evaluation.device=foo", "evaluation.device: expected auto, cpu or cuda, got 'foo'"),
    ("evaluation.device=cuda:99", "evaluation.device: expected auto, cpu or a GPU that is there, got 'cuda:99': torch"),
    ("evaluation.device=meta", "evaluation.device: expected auto, cpu or a GPU that is there, got 'meta'"),
    ("evaluation.stages=[qualty]", "evaluation.stages: expected some of .* got 'qualty'"),
    ("evaluation.baseline_run=nowhere", "evaluation.baseline_run: no folder nowhere"),
    ("evaluation.benchmark=5", "evaluation.benchmark: expected benchmark.name=value, got 5"),
    ("evaluation.benchmark.rounds=0", "evaluation.benchmark.rounds: expected an integer of 1 or more"),
]


def composed(*overrides: str, name: str = "train") -> Any:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose(name, list(overrides))


@pytest.fixture(scope="module")
def small() -> Any:
    return composed("backbone=tiny", "trainer=cpu", "task=demo")


def leaves(values: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(values, dict) and values:
        return [leaf for key, value in values.items() for leaf in leaves(value, f"{prefix}{key}.")]
    return [(prefix[:-1], values)]


def other(value: Any) -> Any:
    """Return another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value, *value[-1:]]
    return "something else"


def refusal(small: Any, override: str) -> str | None:
    """Return what is said of a value; set as YAML has it, since composing anew takes longer."""
    values = plain(small)
    *sections, key = override.partition("=")[0].lstrip("+").split(".")
    node = values
    for section in sections:
        node = node[section]
    node[key] = yaml.safe_load(override.partition("=")[2])
    if sections == ["budget"]:  # as Hydra would have it
        values["trainer"] |= {"max_epochs": values["budget"]["epochs"], "max_steps": values["budget"]["max_steps"]}
    try:
        check_training(values)
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def said() -> dict[str, str | None]:
    """What is said of each, in a process without the types that are checked in tests: users see our own checks."""
    command = [sys.executable, "-m", "tests.cli.test_options"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers: dict[str, str | None] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.mark.parametrize(("override", "message"), REFUSED)
def test_is_refused_by_its_key_before_there_is_a_folder(
    said: dict[str, str | None], override: str, message: str
) -> None:
    answer = said[override]
    assert answer is not None and re.match(message, answer), answer
    assert "\n" not in answer


def test_a_root_of_data_sets_is_refused_where_files_are_named() -> None:
    check_folders({"root": "corpora", "cache_dir": None}, "sst2")
    with pytest.raises(ValueError, match=r"^data\.root: expected null with task=file, .* got 'corpora'"):
        check_folders({"root": "corpora"}, "file")


def test_the_defaults_pass(small: Any) -> None:
    check_training(plain(small))
    check_training(plain(composed("trainer=cpu", "experiment=sst2_paper")))
    check_training(plain(composed("retrofit=folder", "trainer=cpu", name="retrofit")))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_a_choice_says_is_what_is_composed(path: Path) -> None:
    group, option = path.parent.name, path.stem
    said = {key: value for key, value in (yaml.safe_load(path.read_text()) or {}).items() if key != "defaults"}
    config = composed(f"{group}={option}")
    if not path.read_text().startswith("# @package _global_"):
        said = {group: said}
    for key, value in leaves(said):
        if value == "???":
            with pytest.raises(MissingMandatoryValue):
                OmegaConf.select(config, key, throw_on_missing=True)
        elif not (isinstance(value, str) and value.startswith("${")) and value != {}:
            assert OmegaConf.to_container(OmegaConf.create({"it": OmegaConf.select(config, key)}))["it"] == value, key


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_each_value_of_a_choice_makes_another_training(path: Path) -> None:
    group, option = path.parent.name, path.stem
    more = {"file": ["data.train=mine.csv"], "distill": ["objective.teacher=folder"]}.get(option, [])
    config = composed(f"{group}={option}", *more)
    before = fingerprint(plain(config))
    own = plain(config)[group]
    for key, value in leaves(own) if own else ():
        changed = config.copy()
        OmegaConf.update(changed, f"{group}.{key}", other(value))
        no_training = any(f"{group}.{key}".startswith(f"{place}.") for place in NOT_TRAINING) or (
            f"{group}.{key}" in NOT_TRAINING
        )
        assert (fingerprint(plain(changed)) == before) == no_training, key


@pytest.mark.parametrize("group", ["task=file", *(f"objective={name}" for name in OBJECTIVES)])
def test_a_run_from_before_there_was_an_option_keeps_its_name(group: str) -> None:
    config = plain(composed(group, *(["data.train=mine.csv"] if group == "task=file" else [])))
    older = copy.deepcopy(config)
    for place in ADDED:
        section, _, key = place.rpartition(".")
        older[section].pop(key, None)
    older = {key: value for key, value in older.items() if value != {} or config[key] == {}}
    assert fingerprint(older) == fingerprint(config)
    assert len(list(leaves(older))) < len(list(leaves(config)))


def test_a_run_keeps_its_name_whatever_the_devices() -> None:
    names = {
        fingerprint(plain(composed(*overrides)))
        for overrides in ([], ["trainer.devices=2"], ["trainer=ddp"], ["trainer=ddp", "trainer.num_nodes=4"])
    }
    assert len(names) == 1


def test_cached_features_are_trained_on_by_one_device() -> None:
    values = plain(composed("retrofit=folder", "trainer=cpu", "trainer.devices=2", name="retrofit"))
    with pytest.raises(ValueError, match=r"trainer.devices: expected 1 with retrofit, .* got 2"):
        check_training(values)


def test_frozen_weights_are_not_compressed() -> None:
    values = plain(composed("retrofit=folder", "trainer=cpu", "compression=magnitude", name="retrofit"))
    with pytest.raises(ValueError, match=r"compression: expected none with retrofit, .* got magnitude"):
        check_training(values)


def test_what_has_no_hugging_face_model_is_not_measured_beside_it() -> None:
    chosen = ("backbone.feed_forward=learn_forget", "trainer=cpu")
    for stages, got in (("null", "None"), ("[quality,benchmark]", r"\['quality', 'benchmark'\]")):
        with pytest.raises(
            ValueError, match=rf"evaluation\.stages: with backbone\.feed_forward=learn_forget .* got {got}"
        ):
            check_training(plain(composed(*chosen, f"evaluation.stages={stages}")))
    check_training(plain(composed(*chosen, "evaluation.stages=[quality,sweep]")))


@pytest.mark.parametrize("key", ["group_by_length", "num_workers"])
def test_options_that_cached_features_have_no_use_for_are_refused(key: str) -> None:
    values = plain(composed("retrofit=folder", "trainer=cpu", name="retrofit"))
    values["data"][key] = other(values["data"][key])
    with pytest.raises(ValueError, match=f"data.{key}: expected .* with retrofit"):
        check_training(values)


def test_a_teacher_must_be_named() -> None:
    with pytest.raises(MissingMandatoryValue, match="teacher"):
        plain(composed("objective=distill"))


if __name__ == "__main__":
    config = composed("backbone=tiny", "trainer=cpu", "task=demo")
    print(json.dumps({override: refusal(config, override) for override, _ in REFUSED}))
