"""environment.json says what a result depends on, and nothing about the person or the machine's folders."""

import getpass
import json
import platform
from pathlib import Path

from eat.runs.environment import write_environment


def test_it_names_versions_and_hardware_but_no_user_and_no_path(tmp_path):
    path = tmp_path / "environment.json"
    write_environment(path, seed=3, data="abc", device="cpu", classes=("no", "yes"))
    text = path.read_text()
    facts = json.loads(text)
    assert facts["seed"] == 3
    assert (facts["data"], facts["classes"]) == ("abc", ["no", "yes"])
    assert facts["cpu"]
    assert facts["packages"]["torch"]
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text
    assert f'"{getpass.getuser()}"' not in text
    assert platform.node() not in text


def test_a_resumption_elsewhere_is_added_not_hidden(tmp_path):
    path = tmp_path / "environment.json"
    for device in ("cpu", "cpu", "cuda", "cuda", "cpu"):
        write_environment(path, seed=0, data="abc", device=device)
    facts = json.loads(path.read_text())
    assert facts["device"] == "cpu"
    assert [resumed["device"] for resumed in facts["resumed"]] == ["cuda"]
