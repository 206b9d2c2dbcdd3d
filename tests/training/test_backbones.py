"""What a training starts from."""

import logging

import pytest
import torch

from eat.backbones import BACKBONES
from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.tasks import build_task
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


def test_a_training_starts_from_a_finished_runs_weights_its_last_head_and_its_tokenizer(tmp_path, caplog):
    run, task = tmp_path / "run", build_task({"name": "sst2"})
    first = AdaptiveForSequenceClassification.from_backbone(
        tiny_config(vocab_size=60, num_layers=3),
        head_depths=[2],
        exit={"name": "confidence", "threshold": 0.9},
        pruner={"name": "l2_norm", "depths": [1], "ratio": 0.5},
        head_pooling="mean",
        seed=0,
    )
    first.save_pretrained(run / "model")
    tokenizer = make_tiny_backbone(vocab_size=60).tokenizer(lambda: ["a good film"], run / "model")
    start = PretrainedBackbone(name="mine", **DEFAULTS | {"path": str(run), "head_pooling": "mean"})
    assert start.tokenizer(list, tmp_path).get_vocab() == tokenizer.get_vocab()
    options = {"attention": None, "pruner": None, "exit": None, "head_depths": [1], "head_pooling": "mean", "seed": 1}
    with caplog.at_level(logging.INFO):
        second = start.build(tokenizer, task, **options)
    assert "was fine-tuned before; thresholds and certificates stand on rows held out" in caplog.text
    assert "random weights and need training: head at depth 1" in caplog.text
    assert second.head_depths == (1, 3)
    assert second.config.pruner["name"] == "none"
    first.set_pruner(name="none")
    first.set_exit(name="never")
    ids = torch.randint(5, len(tokenizer), (2, 9), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(second(ids).logits, first(ids).logits)
    assert start.build(tokenizer, build_task({"name": "mnli"}), **options)(ids).logits.shape == (2, 3)


def test_what_was_made_for_inference_is_no_start(tmp_path):
    model = AdaptiveForSequenceClassification.from_backbone(tiny_config(vocab_size=60), seed=0).quantize(anyway=True)
    model.save_pretrained(tmp_path)
    for start in (model, tmp_path):
        with pytest.raises(
            ValueError, match="backbone: expected floating-point weights, got a model that is int8, for inference only"
        ):
            AdaptiveForSequenceClassification.from_backbone(start)
    with pytest.raises(ValueError, match="got 'eat'; give the model, not its config"):
        AdaptiveForSequenceClassification.from_backbone(model.config)


@pytest.mark.parametrize("model_type", BACKBONES)
def test_the_tokenizer_of_a_tiny_encoder_gives_pairs_the_types_that_it_knows(model_type, tmp_path):
    backbone = make_tiny_backbone(vocab_size=40, model_type=model_type)
    tokenizer = backbone.tokenizer(lambda: ["good film", "bad soup"] * 9, tmp_path)
    model = AdaptiveForSequenceClassification.from_backbone(backbone.source(tokenizer), num_labels=2, seed=0)
    pair = tokenizer("good film", "bad soup", return_tensors="pt")
    assert model(**pair).logits.isfinite().all()
