"""The page about parts in other packages does what it says: the package is built from the page itself."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from eat import testing
from eat.cli import settings
from eat.cli.compose import CONF
from eat.cli.settings import CHOSEN
from tests.made.packages import write_package

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
SOURCE, CHECK, USE = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
GROUP, NAME, MODULE, CLASS = re.search(r'entry-points\."(.+?)"\]\n(\w+) = "(\w+):(\w+)"', PAGE).groups()
COMMANDS = re.findall(r"^eat (train .*)$", PAGE, re.M)
SMALL = [
    "+task.train_rows=200", "+task.validation_rows=40", "backbone.dim=16", "backbone.num_layers=3", "budget=smoke",
    "backbone.intermediate_size=32", "head_depths=[2]", "trainer=cpu", "data.threshold_examples=20",
    "data.certification_examples=20", "data.max_length=32", "evaluation.stages=[]", "data.cache_dir=cache",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which the package is installed."""
    folder = tmp_path_factory.mktemp("extend")
    write_package(folder / "site", "keep-first", SOURCE, {GROUP: {NAME: CLASS}})
    assert (folder / "site" / f"{MODULE}.py").is_file()
    return folder


def run(place, *arguments, installed=True):
    """Run Python in a process of its own, with or without the package."""
    paths = [str(ROOT), *([str(place / "site")] if installed else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=place, env=environment, capture_output=True, text=True, check=False
    )


def config_of(place, log):
    folder = max(place.glob("runs/demo/*/config.yaml"), key=lambda path: path.stat().st_mtime)
    assert NAME in folder.parent.name, log
    return yaml.safe_load(folder.read_text())["pruner"]


def test_the_check_and_the_use_run_and_without_the_package_the_error_says_what_is_missing(place):
    done = run(place, "-c", f"{CHECK}\ntest_keep_first()\n{USE}\nassert loaded.pruner.spared == 3")
    assert done.returncode == 0, done.stderr
    saved = (place / "kept" / "config.json").read_text()
    assert f'"name": "{NAME}"' in saved and CLASS not in saved
    last = USE.strip().splitlines()
    alone = run(place, "-c", "\n".join([last[0], last[-1]]), installed=False)
    (said,) = [line for line in alone.stderr.splitlines() if line.startswith("ValueError: ")]
    promised = " ".join(PAGE[PAGE.index("pruner.name: expected") :].split("```")[0].split())
    assert said == f"ValueError: {promised}"


def test_the_commands_run(place):
    done = run(place, "-m", "eat", *COMMANDS[0].split(), *SMALL)
    assert done.returncode == 0, done.stderr
    assert config_of(place, done.stdout) == {"name": NAME, "depths": [2], "spared": 3}
    (place / "my_conf" / "pruner").mkdir(parents=True)
    (place / "my_conf" / "pruner" / f"{NAME}.yaml").write_text(f"name: {NAME}\ndepths: [1]\nspared: 0\n")
    done = run(place, "-m", "eat", *COMMANDS[1].split(), *SMALL)
    assert done.returncode == 0, done.stderr
    assert config_of(place, done.stdout) == {"name": NAME, "depths": [1], "spared": 5}


@pytest.mark.parametrize("group", CHOSEN)
def test_every_group_of_conf_takes_an_installed_name(group, tmp_path, monkeypatch):
    write_package(tmp_path, f"offers-{group}", "", {CHOSEN[group].group: {f"new_{group}": "Part"}})
    monkeypatch.syspath_prepend(tmp_path)
    inspect.unwrap(settings.register)()  # which does its work once
    with initialize_config_dir(CONF, version_base="1.3"):
        config = compose("train", [f"{group}=new_{group}", f"+{group}.size=3"])
        assert dict(config[group]) == {"name": f"new_{group}", "size": 3}
        assert config.data.max_length == settings.MAX_LENGTH
        if group in settings.PARTS:
            config = compose("evaluate", ["run=there", f"{group}=new_{group}", f"+{group}.size=3"])
            assert config[group].name == f"new_{group}" and config[group].size == 3
    assert f"offers_{group}" not in sys.modules


def test_the_table_names_every_family_and_its_check():
    groups = re.findall(r"^\| `(eat\.\w+)` .*`(check_\w+)` \|$", PAGE, re.M)
    assert {family.group for family in CHOSEN.values()} | {"eat.backbones", "eat.engines"} == dict(groups).keys()
    checks = {name for name in testing.__all__ if name.startswith("check_")}
    assert {check for _, check in groups} == checks - {"check_export"}, "which checks a model's export, no part"
