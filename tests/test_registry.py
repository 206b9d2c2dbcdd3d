"""Parts are built by name: eat's own, and those of installed packages."""

import sys

import pytest

from eat.attention import ATTENTIONS
from eat.backbones import BACKBONES
from eat.benchmark.engines import ENGINES
from eat.exits import EXITS
from eat.pruners import PRUNERS
from eat.registry import Family, build_part
from eat.tasks import TASKS
from eat.training.objectives import OBJECTIVES
from tests.made.packages import write_package


class Knife:
    def __init__(self, length: float, sharp: bool = True) -> None:
        if length <= 0:
            raise ValueError(f"tool.length: expected above 0, got {length}")
        self.length, self.sharp = length, sharp


class Spoon:
    def __init__(self) -> None:
        pass


TOOLS = Family("eat.tools", {"knife": Knife, "spoon": Spoon})


def test_builds_by_name():
    knife = build_part("tool", TOOLS, {"name": "knife", "length": 2.0})
    assert isinstance(knife, Knife) and knife.length == 2.0 and knife.sharp
    assert isinstance(build_part("tool", TOOLS, {"name": "spoon"}), Spoon)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "fork"}, r"tool\.name: expected one of \['knife', 'spoon'\], got 'fork'"),
        ({"name": "knive", "length": 1}, r"got 'knive' \(did you mean 'knife'\?\)"),
        (
            {"name": "knife", "lenght": 1},
            r"tool\.lenght: .*takes \['length', 'sharp'\], got 'lenght' \(did you mean 'length'",
        ),
        ({"name": "spoon", "size": 1}, r"tool\.size: tool 'spoon' takes no arguments, got 'size'"),
        ({"name": "knife"}, r"tool\.length: tool 'knife' needs a value for \['length'\], got none"),
        ({"name": "knife", "length": -1}, r"tool\.length: expected above 0, got -1"),
        ({"length": 1}, r"tool: expected a mapping with a 'name' out of \['knife', 'spoon'\]"),
        ({}, r"tool: expected a mapping with a 'name'"),
        ({"name": None}, r"tool: expected a mapping with a 'name'"),
        ({"name": "builtins.exec"}, r"tool\.name: expected one of"),
    ],
)
def test_refuses(spec, message):
    with pytest.raises(ValueError, match=message):
        build_part("tool", TOOLS, spec)


FORK = """
class Fork:
    def __init__(self, prongs=3):
        self.prongs = prongs
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder on the path where packages can be installed."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("fork_package", "other_package"):
        sys.modules.pop(name, None)


def tools():
    return Family("eat.tools", {"knife": Knife, "spoon": Spoon})


def test_an_installed_part_is_built_by_name_and_imported_when_asked_for(shop):
    write_package(shop, "fork-package", FORK, {"eat.tools": {"fork": "Fork"}, "eat.plates": {"plate": "Plate"}})
    table = tools()
    assert table.known == ["fork", "knife", "spoon"] and table.offered() == ("fork",) and "fork" in table
    assert list(table) == ["knife", "spoon"], "lists do not depend on what is installed"
    with pytest.raises(ValueError, match=r"expected one of \['fork', 'knife', 'spoon'\], got 'folk' .*'fork'\?"):
        build_part("tool", table, {"name": "folk"})
    assert "fork_package" not in sys.modules
    assert build_part("tool", table, {"name": "fork", "prongs": 4}).prongs == 4
    assert "fork_package" in sys.modules and table["fork"] is table["fork"]


def test_a_missing_part_says_where_it_would_come_from():
    with pytest.raises(ValueError, match=r"'fork'; a part of another package needs that package installed .*'eat.too"):
        build_part("tool", tools(), {"name": "fork"})
    with pytest.raises(KeyError):
        tools()["fork"]


def test_own_names_win(shop):
    write_package(shop, "fork-package", FORK, {"eat.tools": {"knife": "Fork"}})
    table = tools()
    assert table["knife"] is Knife and table.offered() == () and "fork_package" not in sys.modules


def test_two_packages_with_one_name_are_named(shop):
    for package in ("fork-package", "other-package"):
        write_package(shop, package, FORK, {"eat.tools": {"fork": "Fork"}})
    with pytest.raises(ValueError, match=r"one package that offers 'fork', got fork-package 1\.0 and other-package 1"):
        build_part("tool", tools(), {"name": "fork"})


@pytest.mark.parametrize(
    ("source", "attribute", "message"),
    [
        ("import not_there_at_all", "Fork", "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("1 / 0", "Fork", "ZeroDivisionError: division by zero"),
        ("", "Fork", "AttributeError: .*'Fork'"),
        ("Fork = 3", "Fork", "expected a class or a function behind 'fork', got 3"),
    ],
)
def test_a_broken_package_is_named_in_one_line(shop, source, attribute, message):
    write_package(shop, "fork-package", source, {"eat.tools": {"fork": attribute}})
    with pytest.raises(ValueError, match=message) as caught:
        build_part("tool", tools(), {"name": "fork"})
    assert "\n" not in str(caught.value)


def test_a_part_can_be_lent():
    table = tools()
    with table.lent("fork", Spoon):
        assert isinstance(build_part("tool", table, {"name": "fork"}), Spoon)
    assert "fork" not in table
    with pytest.raises(ValueError, match="name that no part has yet, got 'knife'"), table.lent("knife", Spoon):
        pass


@pytest.mark.parametrize(
    "table", [ATTENTIONS, BACKBONES, ENGINES, EXITS, OBJECTIVES, PRUNERS, TASKS], ids=lambda table: table.group
)
def test_every_family_takes_parts_of_packages(table, shop):
    write_package(shop, "fork-package", FORK, {table.group: {"fork": "Fork"}})
    assert "fork" in table and "fork" in table.known and "fork" not in list(table)
