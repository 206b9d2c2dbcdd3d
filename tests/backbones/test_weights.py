"""Where weights are looked for, in which order, and what an error says."""

import sys

import pytest

from eat.backbones.weights import resolve_weights


def checkpoint(folder, weights="model.safetensors"):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / weights).write_bytes(b"")
    return folder


@pytest.fixture
def no_package(monkeypatch):
    monkeypatch.setattr("eat.backbones.weights.PACKAGED", {"minilm": ("no_such_package", "model")})


@pytest.mark.parametrize("weights", ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"])
def test_a_named_folder_comes_first(weights, tmp_path, monkeypatch):
    named = checkpoint(tmp_path / "mine", weights)
    checkpoint(tmp_path / "root" / "minilm")
    monkeypatch.setenv("EAT_WEIGHTS_ROOT", str(tmp_path / "root"))
    assert resolve_weights("minilm", path=named, hub="some/hub") == str(named)
    assert resolve_weights("minilm", path=str(named)) == str(named)


def test_the_environment_comes_before_package_and_hub(tmp_path, monkeypatch):
    inside = checkpoint(tmp_path / "minilm")
    monkeypatch.setenv("EAT_WEIGHTS_ROOT", str(tmp_path))
    assert resolve_weights("minilm", hub="some/hub") == str(inside)


def test_an_installed_package_comes_before_the_hub(tmp_path, monkeypatch):
    inside = checkpoint(tmp_path / "carrier" / "model")
    (tmp_path / "carrier" / "__init__.py").write_text("raise ImportError('only looked up, never imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("eat.backbones.weights.PACKAGED", {"minilm": ("carrier", "model")})
    assert resolve_weights("minilm", hub="some/hub") == str(inside)
    assert "carrier" not in sys.modules


def test_the_hub_comes_last(tmp_path, monkeypatch, no_package):
    monkeypatch.setenv("EAT_WEIGHTS_ROOT", str(tmp_path))
    assert resolve_weights("minilm", hub="some/hub") == "some/hub"
    assert resolve_weights("bert_base", hub="some/hub") == "some/hub"


def test_a_named_folder_without_a_checkpoint_is_an_error(tmp_path):
    """Even where other places have one: what is named is what is wanted."""
    with pytest.raises(FileNotFoundError, match=r"backbone\.path: expected a folder with config\.json and"):
        resolve_weights("minilm", path=tmp_path, hub="some/hub")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="To go on: name a folder"):
        resolve_weights("minilm", path=tmp_path)


def test_nothing_anywhere(tmp_path, monkeypatch, no_package):
    with pytest.raises(FileNotFoundError) as error:
        resolve_weights("minilm")
    message = str(error.value)
    assert "no weights for 'minilm'" in message and "EAT_WEIGHTS_ROOT (not set)" in message
    assert "the package no_such_package" in message
    assert "backbone.path=" in message and "backbone=tiny" in message
    monkeypatch.setenv("EAT_WEIGHTS_ROOT", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"EAT_WEIGHTS_ROOT \\({tmp_path / 'minilm'}\\)"):
        resolve_weights("minilm")
