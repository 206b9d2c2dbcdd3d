"""The command of a report reads back as it was meant, wherever the folders lie."""

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from eat.evaluation.command import quoted, repeating_command


def read_back(override: str) -> object:
    value = OverridesParser.create().parse_override(override).value()
    return OmegaConf.to_container(OmegaConf.create({"value": value}), resolve=True)["value"]  # type: ignore[index, call-overload]


@given(st.text("ab1e'\\${}=, .[]()\"/~:é_-", min_size=1, max_size=12))
def test_text_is_read_back(text: str) -> None:
    assert read_back(f"run={quoted(text)}") == text


@pytest.mark.parametrize("text", ["1", "1e5", "true", "NULL", "nan", "inf", "${a}", "a b", "x=y,z", "it's", "back\\"])
def test_words_and_numbers_stay_text(text: str) -> None:
    assert read_back(f"run={quoted(text)}") == text


@pytest.mark.parametrize("name", ["plain", "with space", "lr=1,2", "it's"])
def test_a_run_is_named_from_here_or_by_its_whole_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, here = tmp_path / name, tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    for place, expected in ((tmp_path, Path(name)), (here, folder)):
        monkeypatch.chdir(place)
        command = repeating_command({"run": folder, "baseline_run": None}, [], {})
        (override,) = shlex.split(command)[2:]
        assert Path(str(read_back(override))) == expected and (place / expected).is_dir()
