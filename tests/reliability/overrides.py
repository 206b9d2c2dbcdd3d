"""Kind `overrides`: a command line composes and passes its checks, or is refused in one line that names the key.

An input is one command line. It is composed as Hydra composes it, and then everything is checked that a command checks
before it reads data; nothing is trained. An error is judged as the command would show it.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from eat.cli.benchmark import read_options
from eat.cli.compose import CONF, plain
from eat.cli.messages import explain, is_users
from eat.cli.options import check_keys, check_training
from eat.cli.settings import register
from eat.deployment.export import ExportSettings
from eat.deployment.prediction.settings import PredictSettings
from eat.evaluation.queries import QuerySettings
from eat.evaluation.run import check_options
from eat.runs.naming import run_name
from tests.reliability.campaign import Case, one_line, place
from tests.reliability.refusals import LONGEST
from tests.reliability.tables import FOLDER

register()
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
COMMANDS = {"train": 6, "evaluate": 3, "benchmark": 1, "retrofit": 2, "predict": 2, "export": 1, "queries": 1}
NEEDED = {
    "evaluate": ["run=folder"],
    "retrofit": ["retrofit=folder"],
    "predict": ["model=folder", "input=rows.csv", "output=answers.csv"],
    "export": ["run=folder", "output=served"],
    "queries": ["candidates={one:folder}", "output=measured"],
}
"""What a command line always says; runs and files are another matter."""
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
WORDS += ("[rules]", "[calibrate,certify]", "[quality,sweep]", "learn_forget", "[0,1]", "onnx_static", "multi_label")
_OF_TRAINING = (
    *("task", "backbone", "attention", "pruner", "exit", "objective", "compression"),
    *("trainer", "logger", "callbacks", "budget", "holdout"),
)
GROUPS = {
    "train": _OF_TRAINING,
    "retrofit": _OF_TRAINING,
    "evaluate": ("exit", "pruner", "benchmark"),
    "predict": ("exit",),
}


@functools.cache
def options(group: str) -> list[str]:
    """Return the choices of a group."""
    return sorted(path.stem for path in (Path(CONF) / group).glob("*.yaml"))


@functools.cache
def keys(command: str, choice: str | None = None) -> dict[str, Any]:
    """Return the dotted keys of a command's configuration, with a choice of a group, and their values."""
    config = _compose(command, [*NEEDED.get(command, []), *([] if choice is None else [choice])])
    return dict(sorted(_nodes(OmegaConf.to_container(config, resolve=False))))


def _nodes(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{key}", value
        yield from _nodes(value, f"{prefix}{key}.")


def _compose(command: str, overrides: list[str]) -> DictConfig:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose(command, overrides)


def check_overrides(case: Case) -> None:
    """Draw a command line, compose it, and check what comes out."""
    draw = case.random
    command = draw.choices(list(COMMANDS), list(COMMANDS.values()))[0]
    typed = random_overrides(draw, command)
    case.about = " ".join(typed)
    case.count(inputs=1, **{command: 1})
    stage = "composing"
    try:
        with contextlib.chdir(FOLDER):
            config = _compose(command, [*NEEDED.get(command, []), *typed])
            stage = "checking"
            CHECKS[command](config)
        case.count(accepted=1)
        for key in unseen(config, typed):
            case.fail(f"{command}: a value that was taken does not show in the configuration", key)
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


def random_overrides(draw: random.Random, command: str) -> list[str]:
    """Draw what is typed, perhaps with a choice of a group whose own keys are then drawn as well."""
    groups = GROUPS.get(command, ())
    choice: str | None = None
    if groups and draw.random() < 0.5:
        group = draw.choice(groups)
        choice = f"{group}={draw.choice([*options(group), *options(group), draw.choice(WORDS)])}"
    try:
        known = keys(command, choice)
    except Exception:  # a choice that there is not
        known = keys(command)
    typed = [random_override(draw, known, choice) for _ in range(draw.choice([0, 1, 1, 2, 4] if choice else [1, 1, 2]))]
    return [*([] if choice is None else [choice]), *typed]


def random_override(draw: random.Random, known: Mapping[str, Any], choice: str | None) -> str:
    """Draw a key and a value: often one that exists, sometimes neither; of a chosen group's keys more."""
    own = [key for key in known if choice is not None and key.startswith(f"{choice.partition('=')[0]}.")]
    key = draw.choice(own if own and draw.random() < 0.5 else list(known))
    value = json.dumps(known[key]) if draw.random() < 0.3 else draw.choice(WORDS)
    if draw.random() < 0.12:
        place = draw.randrange(len(key))
        key = key[:place] + draw.choice(["_", "x", "", ".", " "]) + key[place + 1 :]
    return f"{draw.choice(['', '', '', '', '', '', '+', '++', '~'])}{key}={value}"


def unseen(config: DictConfig, typed: list[str]) -> list[str]:
    """Return what was typed as a plain value of a key that is not in the configuration."""
    parsed = OverridesParser.create().parse_overrides(typed)
    last = {override.key_or_group: override for override in parsed}
    return [
        override.input_line or ""
        for key, override in last.items()
        if not any(other.startswith((f"{key}.", f"~{key}")) for other in last)
        and OmegaConf.select(config, key) is None
        and override.type is not OverrideType.DEL
        and override.value() is not None
    ]


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


def check_predict(config: DictConfig) -> None:
    """Check what a prediction can be told."""
    _build(PredictSettings, config, NEEDED["predict"])


def check_export(config: DictConfig) -> None:
    """Check what an export can be told."""
    _build(ExportSettings, config, [*NEEDED["export"], "data"])


def check_queries(config: DictConfig) -> None:
    """Check what is asked of queries."""
    _build(QuerySettings, config, [*NEEDED["queries"], "title", "data"])


def _build(settings: Callable[..., Any], config: DictConfig, others: list[str]) -> None:
    values, known = plain(config), inspect.signature(settings).parameters
    check_keys("", values, [*known, *(name.partition("=")[0] for name in others)])
    settings(**{name: values[name] for name in known if name in values})


CHECKS = {
    "train": check_train,
    "retrofit": check_train,
    "evaluate": check_evaluate,
    "benchmark": check_benchmark,
    "predict": check_predict,
    "export": check_export,
    "queries": check_queries,
}
