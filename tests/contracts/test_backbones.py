"""What every backbone in the table promises."""

import dataclasses

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from eat.attention.full import FullAttention
from eat.backbones import BACKBONES, build_backbone
from eat.backbones.convert import encoder_weights_from_hf, head_weights_from_hf, weights_to_hf
from eat.backbones.tiny import tiny_config

every_backbone = pytest.mark.parametrize("model_type", sorted(BACKBONES))


@every_backbone
def test_shape_goes_to_hugging_face_and_back(model_type):
    config = tiny_config(model_type)
    backbone = BACKBONES[model_type].from_hf_config(config)
    assert config.model_type == model_type
    assert BACKBONES[model_type].from_hf_config(backbone.to_hf_config()) == backbone


@every_backbone
def test_shape_goes_to_plain_values_and_back(model_type):
    backbone = BACKBONES[model_type].from_hf_config(tiny_config(model_type))
    assert build_backbone({"name": model_type, **dataclasses.asdict(backbone)}) == backbone


@every_backbone
def test_weights_go_to_our_names_and_back(model_type):
    config = tiny_config(model_type)
    backbone = BACKBONES[model_type].from_hf_config(config)
    theirs = AutoModelForSequenceClassification.from_config(config).state_dict()
    encoder, head = encoder_weights_from_hf(backbone, theirs), head_weights_from_hf(backbone, theirs)
    back = weights_to_hf(backbone, encoder, head)
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in theirs.items())


@every_backbone
def test_parts_have_the_weights_that_names_promise(model_type):
    config = tiny_config(model_type)
    backbone = BACKBONES[model_type].from_hf_config(config)
    theirs = AutoModelForSequenceClassification.from_config(config).state_dict()
    ours = {f"embeddings.{name}": tensor for name, tensor in backbone.embeddings().state_dict().items()}
    for layer in range(backbone.num_layers):
        block = backbone.block(FullAttention()).state_dict()
        ours |= {f"blocks.{layer}.{name}": tensor for name, tensor in block.items()}
    converted = encoder_weights_from_hf(backbone, theirs)
    assert {name: tensor.shape for name, tensor in ours.items()} == {n: t.shape for n, t in converted.items()}
    ours = backbone.head(2, "cls").state_dict()
    converted = head_weights_from_hf(backbone, theirs)
    assert {name: tensor.shape for name, tensor in ours.items()} == {n: t.shape for n, t in converted.items()}


@every_backbone
def test_a_missing_weight_is_named(model_type):
    config = tiny_config(model_type)
    backbone = BACKBONES[model_type].from_hf_config(config)
    theirs = AutoModelForSequenceClassification.from_config(config).state_dict()
    name = next(name for name in theirs if "word_embeddings" in name)
    del theirs[name]
    with pytest.raises(ValueError, match=r"weights: expected 'embeddings\.word_embeddings\.weight' in a "):
        encoder_weights_from_hf(backbone, theirs)


@every_backbone
@pytest.mark.parametrize("key", ["vocab_size", "dim", "num_layers", "num_heads", "intermediate_size", "max_length"])
def test_impossible_shape(model_type, key):
    with pytest.raises(ValueError, match=rf"backbone\.{key}: expected an integer of 1 or more, got 0"):
        dataclasses.replace(BACKBONES[model_type].from_hf_config(tiny_config(model_type)), **{key: 0})
