"""Wrongly typed and outsized shapes of a config.json are refused in one line, before anything is allocated."""

import json
import tracemalloc

import pytest

from eat.attention.windowed import WindowedAttention
from eat.backbones.bert import BertBackbone
from eat.models.classifier import AdaptiveForSequenceClassification
from tests.reference.tiny import tiny_adaptive
from tests.reference.unchecked import unchecked


def load_edited(folder, change):
    tiny_adaptive().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    return AdaptiveForSequenceClassification.from_pretrained(folder)


SHAPE = {"vocab_size": 9, "dim": 4, "num_layers": 1, "num_heads": 2, "intermediate_size": 8}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("norm_eps", "x", r"backbone\.norm_eps: expected a number of 0 or more, got 'x'"),
        ("norm_eps", None, r"backbone\.norm_eps: "),
        ("dropout", "a", r"backbone\.dropout: expected a number in \[0, 1\), got 'a'"),
        ("attention_dropout", [0.1], r"backbone\.attention_dropout: "),
        ("head_dropout", 2, r"backbone\.head_dropout: "),
        ("num_types", "2", r"backbone\.num_types: expected an integer of 0 or more, got '2'"),
        ("sep_token_id", 2.5, r"backbone\.sep_token_id: "),
        ("embedding_size", 0, r"backbone\.embedding_size: "),
        ("initializer_range", "a", r"backbone\.initializer_range: "),
    ],
)
def test_wrongly_typed(key, value, message):
    with pytest.raises(ValueError, match=message):
        unchecked(BertBackbone, **SHAPE, **{key: value})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_layers", 10**6, r"backbone\.num_layers: expected at most 1000, got 1000000"),
        ("dim", 10**9, "backbone: expected a shape of at most 2e.10 weights, got about .* dim=1000000000,"),
        ("vocab_size", 10**12, "backbone: expected a shape of at most .* vocab_size=1000000000000,"),
        ("intermediate_size", 10**12, "backbone: expected a shape of at most"),
        ("max_length", 10**12, "backbone: expected a shape of at most"),
        ("num_types", 10**12, "backbone: expected a shape of at most"),
    ],
)
def test_outsized(key, value, message, tmp_path):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as raised:
            load_edited(tmp_path, lambda config: config["backbone"].update({key: value}))
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    assert "\n" not in str(raised.value)


def set_labels(config, value):
    del config["id2label"], config["label2id"]
    config["num_labels"] = value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: set_labels(config, 10**12), r"num_labels: expected at most 10000000, got 1000000000000"),
        (lambda config: set_labels(config, "3"), r"num_labels: expected an integer of 1 or more, got '3'"),
        (
            lambda config: config.update(id2label=5),
            r"config\.id2label: expected a mapping of 0, 1, \.\.\. to names, got 5",
        ),
        (lambda config: config.update(id2label={"0": "a", "2": "b"}), r"config\.id2label: expected a mapping"),
        (lambda config: config.update(id2label={}), "id2label: expected one name or more"),
        (
            lambda config: config.update(dtype="float31"),
            r"config\.dtype: expected the name of a torch dtype .*'float31'",
        ),
        (
            lambda config: config["heads"].update(depths=[3] * 100_000),
            "head_depths: expected each depth once, got 100000",
        ),
        (lambda config: config["heads"].update(pooling=["cls"]), r"head_pooling: expected one of \['cls', 'mean'\]"),
    ],
)
def test_other_keys(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_edited(tmp_path, change)


def test_global_tokens_that_are_no_list():
    with pytest.raises(ValueError, match=r"attention\.global_tokens: expected \['cls'\]"):
        unchecked(WindowedAttention, global_tokens=5)
