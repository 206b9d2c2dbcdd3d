"""Every option and every experiment composes and builds; what is misspelt fails at once and says what was possible."""

import warnings
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from datasets import are_progress_bars_disabled, enable_progress_bars
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torchmetrics import SpearmanCorrCoef
from transformers import BertTokenizer

from eat.attention import build_attention
from eat.benchmark.run import BenchmarkSettings
from eat.cli import settings
from eat.cli.build import build
from eat.cli.compose import keep_quiet, plain
from eat.exits import EXITS, build_exit
from eat.pruners import PRUNERS, build_pruner
from eat.runs.naming import HOLDOUTS, run_name, training_overrides
from eat.suite import SuiteSettings
from eat.suite.settings import PART_NAMES
from eat.tasks import TASKS, build_task
from eat.training.backbones import TrainingBackbone
from eat.training.compression import COMPRESSIONS, build_compression
from eat.training.objectives import OBJECTIVES, build_objective
from eat.training.schedule import PruningSchedule
from tests.training.made import make_tiny_backbone

CONF = Path(__file__).parents[2] / "conf"
settings.register()
TOKENIZER = BertTokenizer(vocab={word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])})


def options(group):
    folder = CONF / group
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def composed(*overrides, name="train"):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, list(overrides))


def spec(group, option):
    return plain(composed(f"{group}={option}")[group])


@pytest.mark.parametrize("option", options("attention"))
def test_attention(option):
    build_attention(spec("attention", option))


@pytest.mark.parametrize("option", options("pruner"))
def test_pruner(option):
    assert isinstance(build_pruner(spec("pruner", option)), PRUNERS[option])


@pytest.mark.parametrize("experiment", [name for name in options("experiment") if name.startswith("ablation/")])
def test_an_ablation_of_a_regression_leaves_by_a_criterion_that_needs_no_classes(experiment):
    assert composed("task=stsb", f"experiment={experiment}").exit.name in ("never", "difference")
    assert composed("task=sst2", f"experiment={experiment}").exit.name in ("never", "confidence")
    assert composed("task=stsb", "exit=never", f"experiment={experiment}").exit.name == "never"


@pytest.mark.parametrize("option", options("exit"))
def test_exit(option):
    assert isinstance(build_exit(spec("exit", option)), EXITS[option])


@pytest.mark.parametrize("option", options("compression"))
def test_compression(option):
    assert isinstance(build_compression(spec("compression", option)), COMPRESSIONS[option])


def test_every_part_of_a_family_has_its_yaml():
    assert options("pruner") == sorted(PRUNERS)
    assert options("exit") == sorted(EXITS)
    assert options("task") == sorted(TASKS)
    assert options("compression") == sorted(COMPRESSIONS)
    presets = {"distill", "self_distill"}  # of the joint one
    assert set(options("objective")) - presets == OBJECTIVES.keys()


@pytest.mark.parametrize("option", options("task"))
def test_task(option, tmp_path):
    rows = tmp_path / "train.csv"
    rows.write_text("text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(20)))
    config = composed(f"task={option}", *([f"data.train={rows}"] if option == "file" else []))
    assert build_task(plain(config.task)).name == option
    assert config.backbone.max_length == config.data.max_length


@pytest.mark.parametrize("option", options("backbone"))
def test_backbone(option):
    config = composed(f"backbone={option}")
    backbone = build("backbone", plain(config.backbone))
    assert isinstance(backbone, TrainingBackbone)
    assert backbone.name == option
    assert config.head_pooling == backbone.head_pooling


@pytest.mark.parametrize("option", options("objective"))
def test_objective(option):
    config = composed(f"objective={option}", *(["objective.teacher=folder"] if option == "distill" else []))
    parts = {"tokenizer": TOKENIZER, "label_names": ("a", "b"), "max_length": 8}
    if option == "distill":
        with pytest.raises(ValueError, match=r"objective.teacher: expected the folder .* got 'folder'"):
            build_objective(plain(config.objective), **parts)
    else:
        built = build_objective(plain(config.objective), **parts)
        assert isinstance(built, OBJECTIVES["joint" if option == "self_distill" else option])


@pytest.mark.parametrize("option", options("budget"))
def test_budget(option):
    config = composed(f"budget={option}")
    assert config.budget.name == option
    assert config.trainer.max_epochs == config.budget.epochs
    assert config.data.train_examples == config.budget.train_examples


@pytest.mark.parametrize("option", options("holdout"))
def test_holdout(option):
    config = composed(f"holdout={option}")
    assert config.holdout.name == option
    held_out = config.data.threshold_examples, config.data.certification_examples
    assert held_out == (config.holdout.threshold_examples, config.holdout.certification_examples)
    assert (sum(held_out) == 0) == (option == "none")


@pytest.mark.parametrize("option", options("logger"))
def test_logger(option, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    for logger in composed(f"logger={option}").logger.values():
        assert isinstance(build("logger", plain(logger))(folder=tmp_path), Logger)


def test_suite():
    config = plain(composed(name="benchmark"))
    suite = SuiteSettings(**{key: value for key, value in config.items() if key not in ("folder", "fresh")})
    assert suite.measured_values() == SuiteSettings().measured_values()
    assert suite.chosen_parts == PART_NAMES
    with pytest.raises(HydraException, match="secnods"):
        composed("secnods=3", name="benchmark")


@pytest.mark.parametrize("option", options("callbacks"))
def test_callbacks(option):
    for callback in composed(f"callbacks={option}").callbacks.values():
        assert isinstance(build("callbacks", plain(callback)), Callback)


@pytest.mark.parametrize("option", options("trainer"))
def test_trainer(option, tmp_path):
    if option == "gpu" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    config = composed(f"trainer={option}", *(["trainer.devices=2"] if option == "ddp" else []))
    trainer = build("trainer", plain(config.trainer), default_root_dir=tmp_path, logger=False)
    assert trainer.max_epochs == 3
    assert trainer.precision == ("bf16-mixed" if trainer.strategy.root_device.type == "cuda" else "32-true")


@pytest.mark.parametrize("name", options("experiment"))
def test_experiment(name):
    overrides = ["objective.teacher=folder"] if name == "sst2_distilled" else []
    config = composed(f"experiment={name}", *overrides)
    assert config.experiment == name
    task = build_task(plain(config.task))
    six_layers = make_tiny_backbone(dim=16, num_layers=config.backbone.num_layers or 6, intermediate_size=16)
    model = six_layers.build(
        TOKENIZER,
        task,
        attention=plain(config.attention),
        pruner=plain(config.pruner),
        exit=plain(config.exit),
        head_depths=config.head_depths,
        head_pooling=config.head_pooling,
        seed=config.seed,
    )
    assert model.config.num_labels == task.num_labels
    assert isinstance(build("schedule", plain(config.schedule)), PruningSchedule)
    optimizer = build("optimizer", plain(config.optimizer))(model)
    build("scheduler", plain(config.scheduler))(optimizer, total_steps=10)
    assert run_name(plain(config)).startswith(config.backbone.name)


@pytest.mark.parametrize("option", ["default", *options("benchmark")])
def test_benchmark(option):
    alone = plain(composed(f"benchmark={option}", "run=x", name="evaluate").benchmark)
    BenchmarkSettings(**alone)
    overrides = [f"benchmark@evaluation.benchmark={option}"]
    assert plain(composed(*overrides).evaluation)["benchmark"] == alone
    assert composed(*overrides, "evaluation.benchmark.seconds=5").evaluation.benchmark.seconds == 5


@pytest.mark.parametrize("name", HOLDOUTS)
def test_a_choice_of_holdout_is_named_by_its_numbers(name: str):
    chosen = composed(f"holdout={name}").holdout
    assert [chosen.threshold_examples, chosen.certification_examples] == HOLDOUTS[name]


def test_the_papers_benchmark():
    paper = composed("benchmark=paper", "run=x", name="evaluate").benchmark
    assert (paper.warmup, paper.examples, paper.dtype) == (50, 1000, "float16")


def test_how_is_measured_is_no_part_of_a_training():
    other = ["benchmark@evaluation.benchmark=paper", "evaluation.benchmark.rounds=1"]
    assert run_name(plain(composed())) == run_name(plain(composed(*other)))
    assert training_overrides(other) == []


def test_the_default_is_the_papers_configuration():
    config, paper = composed(), composed("experiment=sst2_paper")
    assert (paper.head_pooling, paper.optimizer.lr) == ("cls", 2e-5)
    assert (config.head_pooling, config.optimizer.lr) == ("mean", 1e-4)  # what suits MiniLM; the only differences
    config.optimizer.lr = paper.optimizer.lr
    for part in ("task", "backbone", "attention", "pruner", "exit", "head_depths", "optimizer", "schedule", "budget"):
        assert config[part] == paper[part], part
    assert (paper.attention.window, paper.pruner.depths, paper.pruner.ratio) == (32, [2, 4], 0.3)
    assert (paper.data.batch_size, paper.data.max_length) == (32, 256)


@pytest.mark.parametrize(
    ("overrides", "lr"),
    [([], 1e-4), (["backbone=bert_base"], 2e-5), (["backbone=tiny"], 1e-3), (["optimizer.lr=3e-5"], 3e-5)],
)
def test_the_learning_rate_is_the_backbones_unless_it_is_given(overrides: list[str], lr: float):
    config = plain(composed(*overrides))
    assert config["optimizer"]["lr"] == lr
    typed = plain(composed(*overrides, f"optimizer.lr={lr}", "backbone.lr=0.5"))
    assert run_name(typed) == run_name(config)  # only what is trained with counts


def test_a_retrofit_is_off_but_for_its_heads_until_told_otherwise():
    config = composed("retrofit=folder", "task=rte", name="retrofit")
    assert (config.attention, config.pruner, config.head_depths) == ({"name": "full"}, {"name": "none"}, "all")
    assert (config.backbone.classifier, config.backbone.name, config.task.name) == ("folder", "classifier", "rte")
    assert config.data.train_examples == config.budget.train_examples == 20_000
    pruned = composed("retrofit=folder", "pruner=l2_norm", "head_depths=[2]", "data.train_examples=9", name="retrofit")
    assert (pruned.pruner.ratio, pruned.head_depths, pruned.data.train_examples) == (0.3, [2], 9)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pruner=l3_norm", "l2_norm"),
        ("pruner.ratoi=0.5", "ratoi"),
        ("exit.treshold=0.5", "treshold"),
        ("backbone=berd", "bert_base"),
        ("sead=1", "sead"),
    ],
)
def test_what_is_misspelt_fails_at_once(override, message):
    with pytest.raises(HydraException) as caught:
        composed(override)
    assert message in str(caught.value) + str(caught.value.__cause__)


@pytest.mark.parametrize("override", ["plan.bach_size=8", "certify.maxdrop=0.01", "benchmark.round=3", "exit.tau=1"])
def test_misspelt_settings_of_an_evaluation_fail_at_once(override):
    with pytest.raises(HydraException, match=override.partition("=")[0].partition(".")[2]):
        composed("run=x", override, name="evaluate")


@pytest.mark.parametrize("command", settings.EXPLAINED)
def test_help_explains_every_setting(command):
    lines = [line for prefix, part in settings.EXPLAINED[command].items() for line in settings.explain(prefix, part)]
    assert lines
    assert not [line for line in lines if line.endswith((": ", "):"))]


def test_a_foreign_key_in_a_part_is_named_with_what_was_possible():
    with pytest.raises(ValueError, match=r"pruner.ratoi: pruner 'l2_norm' takes .* \(did you mean 'ratio'\?\)"):
        build_pruner(plain(composed("+pruner.ratoi=0.5").pruner))


def test_what_is_built_is_named_with_its_place_where_it_is_wrong():
    assert build("x", {"_target_": "fractions.Fraction", "numerator": 1}, denominator=2) == Fraction(1, 2)
    assert build("x", {"_target_": "builtins.dict", "_partial_": True, "a": [{"_target_": "builtins.list"}]})(b=1) == {
        "a": [[]],
        "b": 1,
    }
    for spec, message in (
        ({"lr": 1}, r"x: expected a mapping with _target_, the dotted name of a class, got \{'lr': 1\}"),
        (
            {"_target_": "nowhere.Thing"},
            r"x\._target_: 'nowhere\.Thing' cannot be imported \(No module",
        ),
        ({"_target_": "math.pi"}, r"x\._target_: expected a class or a function, 'math\.pi' is a float"),
        (
            {"_target_": "fractions.Fraction", "num": 1},
            r"x: fractions\.Fraction takes numerator, .* 'num'",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            build("x", spec)


def test_commands_leave_the_screen_to_what_they_say():
    enable_progress_bars()
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("error")
        keep_quiet()
        SpearmanCorrCoef()
    assert are_progress_bars_disabled()
