"""Every command, option and target that README and docs show exists: commands compose, stages take the settings."""

import functools
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from eat.cli import settings
from eat.cli.compose import CONF, plain
from eat.evaluation import check_options
from eat.training.compression import COMPRESSIONS

ROOT = Path(__file__).parents[1]
PAGES = sorted({ROOT / "README.md", *(ROOT / "docs").rglob("*.md")} - {ROOT / "docs" / "extend.md"})
"""The page about parts in other packages has a test of its own, in which there is such a package."""
COMMAND = re.compile(
    r"(?:python (?=train\.py|evaluate\.py)|eat )"
    r"(train|evaluate|search|benchmark|predict|loadgen|tables|figures)(?:\.py)? (.*)"
)
OPTION = re.compile(r"([a-z_]+(?:\.[a-z_]+)*)=\S*|([a-z_]+(?:\.[a-z_]+)+)")
PLACES = (
    ("train",),
    ("evaluate", "run=there"),
    ("train", "task=file"),
    ("retrofit", "retrofit=there"),
    ("benchmark",),
    ("export", "run=there", "output=there"),
    ("predict", "model=there", "input=there", "output=there"),
    ("loadgen", "run=there", "output=there"),
    ("search",),
    ("tables",),
    ("figures", "results=there"),
    *(("train", f"compression={name}") for name in COMPRESSIONS if name != "none"),
)
"""Where an option may belong: a command, and what it may need to be there."""
NOT_OURS = {"key", "modules_to_save", "anyway", "model.manifest.certificate"}  # any key; of peft; of Python
settings.register()


def code(page: Path) -> Iterator[str]:
    """Yield the lines of a page's blocks without a language or in bash, and what stands between single backticks."""
    text = page.read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S):
        yield from block.splitlines() if language in ("", "bash") else ()
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


SHOWN = sorted({line for page in PAGES for line in code(page)})
COMMANDS = [
    (found[1], found[2].removesuffix(" --help"))
    for line in SHOWN
    if (found := COMMAND.match(line)) and found[2] != "--help"
]


@functools.cache
def composed(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose(name, list(overrides))


def composes(*place: str) -> bool:
    try:
        return bool(composed(*place))
    except HydraException:
        return False


def jobs(overrides: list[str]) -> Iterator[tuple[str, ...]]:
    """Yield the overrides of each job; without ``-m`` there is one."""
    typed = [override for override in overrides if override != "-m"]
    parsed = OverridesParser.create().parse_overrides(typed)
    swept = [
        [f"{one.key_or_group}={value}" for value in one.sweep_string_iterator()] if one.is_sweep_override() else [text]
        for one, text in zip(parsed, typed, strict=True)
    ]
    assert "-m" in overrides or all(len(values) == 1 for values in swept), "commas without -m"
    return itertools.product(*swept)


@functools.cache
def options_of(*place: str) -> set[str]:
    """Return every key of a command, dotted, with those that lead to it."""

    def below(prefix: str, value: object) -> Iterator[str]:
        for key, inner in value.items() if isinstance(value, dict) else ():
            yield f"{prefix}{key}"
            yield from below(f"{prefix}{key}.", inner)

    return set(below("", OmegaConf.to_container(composed(*place))))


def fits(place: tuple[str, ...], given: list[str]) -> bool:
    """Say whether a command takes options; it is composed anew, which takes long, only where it has their keys."""
    keys = {override.partition("=")[0].lstrip("+~") for override in given}
    choices = {key for key in keys if "/" in key or "@" in key or (Path(CONF) / key).is_dir()}
    return keys - choices <= options_of(*place) and composes(*place, *given)


@pytest.mark.parametrize(("name", "typed"), COMMANDS, ids=lambda text: text)
def test_commands_compose(name: str, typed: str) -> None:
    overrides = shlex.split(re.sub(r"\$\w+", "1", typed), comments=True)  # a job array's number
    for job in jobs(overrides):
        retrofit = any(override.startswith("retrofit=") for override in job)
        config = composed("retrofit" if retrofit else name, *job)
        if name == "evaluate":
            asked = plain(config)
            check_options(**{key: asked[key] for key in asked.keys() - {"run", "data", "exit", "pruner"}})


def test_options_exist() -> None:
    known, unknown = set().union(*(options_of(*place) for place in PLACES)), set()
    sections = {key.partition(".")[0] for key in known}
    for line in SHOWN:
        found = [OPTION.fullmatch(piece) for piece in line.split()]
        if not all(found) or line.endswith((".csv", ".json", ".md", ".png", ".yaml")):  # these are files
            continue
        keys = {(one[1] or one[2]) for one in found}
        dotted = {key for key in keys if "." in key and key.partition(".")[0] in sections}
        given = [piece for piece in line.split() if not piece.endswith(("=", "=...")) and "=" in piece]
        if dotted - known or (given and not any(fits(place, given) for place in PLACES)):
            unknown.add(line)
    assert {line for line in unknown if line.partition("=")[0] not in NOT_OURS} == set()


def test_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    shown = {target for line in SHOWN for target in re.findall(r"(?:^|\s)make ([a-z-]+)", line)}
    assert shown - targets == set() and shown


def test_what_does_not_exist_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for line, test in (
        ("data.gruop_by", test_options_exist),
        ("exit=differ", test_options_exist),
        ("make dmeo", test_targets_exist),
    ):
        monkeypatch.setitem(globals(), "SHOWN", [line])
        with pytest.raises(AssertionError, match=line.partition(" ")[2] or line):
            test()
    with pytest.raises(HydraException):
        test_commands_compose("train", "task=sst3")
    with pytest.raises(ValueError, match="certfy"):
        test_commands_compose("evaluate", "run=x stages=[certfy]")
