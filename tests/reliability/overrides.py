"""Kind ``overrides``: a command line composes and passes its checks, or is refused in one line that names the key.

An input is one command line. It is composed as Hydra composes it, and then everything that a command checks or builds
before it reads data is checked and built; nothing is trained. Hydra's own refusals are counted, not judged: how they
are shown is a matter of the command's one place for errors.
"""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from eat.cli.compose import CONF, plain
from eat.cli.settings import register
from eat.evaluation.run import check_options
from eat.exits import build_exit
from eat.models.config import AdaptiveConfig, head_options
from eat.registry import build_part
from eat.runs.naming import run_name
from eat.suite import SuiteSettings
from eat.tasks import build_task
from eat.training.objectives import OBJECTIVES
from tests.reliability.campaign import Case
from tests.reliability.refusals import REFUSED, attempt

register()
COMMANDS = {"train": 6, "evaluate": 3, "benchmark": 1}
WORDS = (
    "",
    "null",
    "true",
    "abc",
    "-1",
    "0",
    "1",
    "2",
    "1.5",
    "1e400",
    "nan",
    "inf",
    "-inf",
    "[]",
    "[1]",
    "[1,2]",
    "{}",
)
WORDS += (
    "{a:1}",
    "[[1]]",
    "'x y'",
    '"q"',
    "${seed}",
    "${oc.env:HOME}",
    "${nope}",
    "1_000",
    "0x10",
    "ünï",
    "../x",
    "a=b",
)
WORDS += (
    "10000000000000000000000",
    "[a,b",
    "'",
    "\\",
    "???",
    "~",
    "+1",
    "choice(1,2)",
    "range(3)",
    "glob(*)",
    "a,b",
    "1e-3",
)
GROUPS = ("task", "backbone", "attention", "pruner", "exit", "objective", "trainer", "logger", "callbacks", "budget")


@functools.cache
def options(group: str) -> list[str]:
    """Return the choices of a group."""
    return sorted(path.stem for path in (Path(CONF) / group).glob("*.yaml"))


@functools.cache
def keys(command: str) -> list[str]:
    """Return the dotted keys of a command's configuration."""
    return sorted(_leaves(OmegaConf.to_container(_compose(command, []), resolve=False)))


def _leaves(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return [prefix.rstrip(".")]
    return [leaf for key, value in node.items() for leaf in [f"{prefix}{key}", *_leaves(value, f"{prefix}{key}.")]]


def _compose(command: str, overrides: list[str]) -> DictConfig:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose(command, overrides)


def check_overrides(case: Case) -> None:
    """Draw a command line, compose it, and check what comes out."""
    draw = case.random
    command = draw.choices(list(COMMANDS), list(COMMANDS.values()))[0]
    typed = [random_override(draw, command) for _ in range(draw.choice([1, 1, 1, 2, 4]))]
    case.count(inputs=1, **{command: 1})
    case.about = " ".join(typed)
    hydras = (HydraException, OmegaConfBaseException)  # and ValueErrors, while it composes
    names = [*(override.partition("=")[0].lstrip("+~").rpartition(".")[2] for override in typed)]
    names += [override.partition("=")[0].lstrip("+~").partition(".")[0] for override in typed]
    config = attempt(case, lambda: _compose(command, typed), names, f"composing {command}", also=(*hydras, ValueError))
    if config is REFUSED:
        case.count(refused_by_hydra=1)
        return
    if attempt(case, lambda: CHECKS[command](config), names, f"checking {command}", also=hydras) is REFUSED:
        case.count(refused=1)
    else:
        case.count(accepted=1)


def random_override(draw: random.Random, command: str) -> str:
    """Draw a key or group and a value: often one that exists, sometimes neither."""
    value = draw.choice(WORDS)
    if command == "train" and draw.random() < 0.3:
        group = draw.choice(GROUPS)
        return f"{group}={draw.choice([*options(group), value])}"
    key = draw.choice(keys(command))
    if draw.random() < 0.12:
        place = draw.randrange(len(key))
        key = key[:place] + draw.choice(["_", "x", "", ".", " "]) + key[place + 1 :]
    return f"{draw.choice(['', '', '', '', '', '', '+', '++', '~'])}{key}={value}"


def check_train(config: DictConfig) -> None:
    """Check and build what a training has before it reads data."""
    values = plain(config)
    check_options(**values["evaluation"])
    run_name(values)
    if values["task"]["name"] != "file":
        build_task(values["task"])
    backbone = instantiate(config.backbone)
    layers = getattr(backbone, "num_layers", None) or 6
    criterion = build_exit(values["exit"])
    AdaptiveConfig(
        backbone={
            "name": "bert",
            "vocab_size": 9,
            "dim": 4,
            "num_layers": layers,
            "num_heads": 1,
            "intermediate_size": 4,
        },
        heads=head_options(values["head_depths"], layers, criterion.active, values["head_pooling"], None),
        num_labels=1 if criterion.needs_score else 2,
        **{part: values[part] for part in ("attention", "pruner", "exit")},
    ).check()
    if values["objective"].get("teacher") is None:
        build_part("objective", OBJECTIVES, values["objective"])
    optimizer = instantiate(config.optimizer)(nn.Linear(2, 2))
    instantiate(config.scheduler)(optimizer, 10)
    instantiate(config.schedule)
    for callback in config.callbacks.values():
        instantiate(callback)


def check_evaluate(config: DictConfig) -> None:
    """Check an evaluation's options; the run is another matter."""
    values = OmegaConf.to_container(config, resolve=True)
    for key in ("run", "data", "exit", "pruner"):
        values.pop(key, None)
    check_options(**values)


def check_benchmark(config: DictConfig) -> None:
    """Check the suite's settings."""
    SuiteSettings(**{key: value for key, value in plain(config).items() if key not in ("folder", "fresh")})


CHECKS = {"train": check_train, "evaluate": check_evaluate, "benchmark": check_benchmark}
