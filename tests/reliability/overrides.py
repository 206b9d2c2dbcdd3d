"""Kind `overrides`: a command line composes and passes its checks, or is refused in one line that names the key.

An input is one command line. It is composed as Hydra composes it, and then everything is checked that a command checks
before it reads data; nothing is trained. An error is judged as the command would show it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import random
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from eat.cli.benchmark import read_options
from eat.cli.compose import CONF, plain
from eat.cli.messages import explain, is_users
from eat.cli.options import check_training
from eat.cli.settings import register
from eat.evaluation.run import check_options
from eat.runs.naming import run_name
from tests.reliability.campaign import Case, one_line, place
from tests.reliability.refusals import LONGEST
from tests.reliability.tables import FOLDER

register()
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
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
GROUPS = (
    *("task", "backbone", "attention", "pruner", "exit", "objective", "compression"),
    *("trainer", "logger", "callbacks", "budget"),
)


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
    case.about = " ".join(typed)
    case.count(inputs=1, **{command: 1})
    stage = "composing"
    try:
        with contextlib.chdir(FOLDER):
            config = _compose(command, ["run=folder", *typed] if command == "evaluate" else typed)
            stage = "checking"
            CHECKS[command](config)
        case.count(accepted=1)
    except Exception as error:
        case.count(refused=1)
        judge(case, error, command, stage, typed)


def judge(case: Case, error: Exception, command: str, stage: str, typed: list[str]) -> None:
    """See that a command ends in one line that names a key, as its one place for errors says it."""
    if not is_users(error):
        case.fail(f"{stage} {command}: a fault, {type(error).__name__} in {place(error)}", one_line(error))
        return
    said = explain(error, command, typed)
    keys = [override.partition("=")[0].lstrip("+~") for override in typed]
    names = {part for key in keys for part in (key, *key.split(".")) if part}
    names |= {error.full_key} if isinstance(error, MissingMandatoryValue) else set()  # what a choice asks for
    if "\n" in said or not said.strip() or len(said) > LONGEST:
        case.fail(f"{stage} {command}: no single line, {type(error).__name__} in {place(error)}", said)
    elif not any(name in said for name in names):
        case.fail(f"{stage} {command}: no key is named, {type(error).__name__} in {place(error)}", said)


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
    """Check what a training checks before there is a folder."""
    values = plain(config)
    check_training(values)
    run_name(values)


def check_evaluate(config: DictConfig) -> None:
    """Check an evaluation's options; the run is another matter."""
    values = plain(config)
    for key in ("run", "data", "exit", "pruner"):
        values.pop(key, None)
    check_options(**values)


def check_benchmark(config: DictConfig) -> None:
    """Check the suite's settings."""
    read_options(plain(config))


CHECKS = {"train": check_train, "evaluate": check_evaluate, "benchmark": check_benchmark}
