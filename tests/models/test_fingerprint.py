"""One list names models, traces and features: a key that is not left out on purpose counts everywhere."""

import json

import pytest

from eat.data.tokenized import TokenizedSplit
from eat.models.config import AdaptiveConfig
from eat.models.fingerprint import config_facts, model_fingerprint, raw_facts
from eat.runs.finished import FinishedRun
from eat.training.features import fingerprint
from tests.made.runs import write_run
from tests.reference.tiny import tiny_adaptive
from tests.training.test_features import make_split

CALIBRATED = [1.5, 0.5, 2.0]


@pytest.fixture
def new_key(monkeypatch):
    """A key that `AdaptiveConfig` gets later, and that no fingerprint knows of."""

    def add(value):
        monkeypatch.setitem(AdaptiveConfig.__annotations__, "experts", "int | None")
        monkeypatch.setattr(AdaptiveConfig, "experts", value, raising=False)

    return add


@pytest.fixture
def split() -> TokenizedSplit:
    return make_split()


def test_a_new_key_changes_every_fingerprint(new_key, split, tmp_path):
    model, run = tiny_adaptive(), FinishedRun(write_run(tmp_path / "run"))

    def names():
        return [model_fingerprint(model), fingerprint(model, [split]), run.raw_fingerprint(), run.fingerprint()]

    seen = [names()]
    for value in (None, 4):
        new_key(value)
        seen.append(names())
    assert all(len(set(column)) == 3 for column in zip(*seen, strict=True))


def test_a_subclass_s_key_counts():
    class Extended(AdaptiveConfig):
        experts: int | None = None

    config = tiny_adaptive().config
    extended = Extended.from_dict(config.to_dict())
    assert config_facts(extended) == config_facts(config) | {"experts": None}


def test_a_saved_config_says_what_the_model_s_does(tmp_path):
    model = tiny_adaptive(id2label={index: f"label {index}" for index in range(12)}, num_labels=12)
    model.set_temperatures(CALIBRATED)
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert config_facts(saved) == config_facts(model.config)
    assert raw_facts(saved) == raw_facts(model.config)


def test_exit_certificate_and_for_raw_logits_temperatures_are_left_out():
    model = tiny_adaptive()
    raw, facts = raw_facts(model.config), config_facts(model.config)
    assert not {"exit", "certificate"} & set(facts)
    assert "exit" in config_facts(model.config, without=("certificate",))
    model.set_temperatures(CALIBRATED)
    assert raw_facts(model.config) == raw
    assert config_facts(model.config) != facts
