import pytest

from eat.registry import build_part


class Knife:
    def __init__(self, length: float, sharp: bool = True) -> None:
        if length <= 0:
            raise ValueError(f"tool.length: expected above 0, got {length}")
        self.length, self.sharp = length, sharp


class Spoon:
    def __init__(self) -> None:
        pass


TOOLS = {"knife": Knife, "spoon": Spoon}


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
