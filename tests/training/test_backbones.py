"""What a training starts from."""

import pytest

from eat.backbones import BACKBONES
from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.training.backbones import PretrainedBackbone
from tests.training.made import make_tiny_backbone

DEFAULTS = {"hub": None, "path": None, "num_layers": None, "max_length": 256, "head_pooling": "cls"}


def test_the_tiny_backbones_tokenizer_is_made_once_and_read_again(tmp_path):
    asked = []

    def texts():
        asked.append(1)
        return ["a good film", "a bad film"]

    backbone = make_tiny_backbone(vocab_size=60, dim=16, num_layers=2)
    first = backbone.tokenizer(texts, tmp_path / "tokenizer")
    again = backbone.tokenizer(texts, tmp_path / "tokenizer")
    assert len(asked) == 1
    assert first.get_vocab() == again.get_vocab()
    assert again("good film")["input_ids"][0] == again.cls_token_id
    assert backbone.source(again).vocab_size == len(again) <= 60


@pytest.mark.parametrize("model_type", BACKBONES)
def test_the_tiny_backbone_comes_in_every_type(model_type, tmp_path):
    backbone = make_tiny_backbone(model_type=model_type, vocab_size=60, dim=16, num_layers=2, intermediate_size=16)
    source = backbone.source(backbone.tokenizer(lambda: ["a good film"], tmp_path))
    assert AdaptiveForSequenceClassification.from_backbone(source, seed=0).num_layers == 2


def test_the_tiny_backbone_comes_in_the_types_of_installed_packages(tmp_path):
    with BACKBONES.lent("mine", BACKBONES["bert"]):
        assert make_tiny_backbone(model_type="mine").model_type == "mine"
    with pytest.raises(ValueError, match=r"backbone\.model_type: expected one of .*, got 'mine'.* needs that package"):
        make_tiny_backbone(model_type="mine")


def test_a_checkpoint_is_found_under_the_weights_root_with_its_tokenizer(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    AdaptiveForSequenceClassification.from_backbone(
        tiny_config(vocab_size=60), seed=0
    ).to_hugging_face().save_pretrained(folder)
    tokenizer = make_tiny_backbone(vocab_size=60).tokenizer(lambda: ["a good film"], folder)
    monkeypatch.setenv("EAT_WEIGHTS_ROOT", str(tmp_path))
    backbone = PretrainedBackbone(name="mine", **DEFAULTS)
    assert backbone.source(tokenizer) == str(folder)
    assert backbone.tokenizer(list, tmp_path).get_vocab() == tokenizer.get_vocab()
    with pytest.raises(FileNotFoundError, match=r"no weights for 'other'.*To go on"):
        PretrainedBackbone(name="other", **DEFAULTS).source(tokenizer)
