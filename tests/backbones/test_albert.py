"""ALBERT: one block at every depth, trained, saved and written once."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file
from transformers import AlbertConfig

from eat.backbones.albert import AlbertBackbone
from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification
from tests.reference.tiny import batch_of, tiny_adaptive, tiny_hugging_face, types_for

LABELS = torch.tensor([0, 1, 2])


def test_gradients_add_up_over_depths_as_hugging_faces_do():
    theirs = tiny_hugging_face("albert").train()
    model = AdaptiveForSequenceClassification.from_backbone(theirs).train()
    ids, mask, types = batch_of([20, 3, 11])
    model(ids, mask, types, labels=LABELS).loss.backward()
    theirs(input_ids=ids, attention_mask=mask, token_type_ids=types, labels=LABELS).loss.backward()
    layer = theirs.albert.encoder.albert_layer_groups[0].albert_layers[0]
    block = model.encoder.blocks[2]
    torch.testing.assert_close(block.inner.weight.grad, layer.ffn.weight.grad, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(block.mixed.weight.grad, layer.attention.dense.weight.grad, rtol=1e-3, atol=1e-6)


def test_the_block_is_saved_once(tmp_path):
    model = tiny_adaptive("albert", num_layers=4, pruner={"name": "l2_norm", "depths": [1, 3], "ratio": 0.3})
    model.save_pretrained(tmp_path)
    blocks = {name.split(".")[2] for name in load_file(tmp_path / "model.safetensors") if ".blocks." in name}
    assert blocks == {"0"} and len(model.encoder.blocks) == 4
    ids, mask, types = batch_of([20, 3, 11])
    loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(ids, mask, types).logits, model(ids, mask, types_for(model, types)).logits)


def test_shared_blocks_are_sliced_like_a_list():
    blocks = tiny_adaptive("albert", num_layers=4).encoder.blocks
    assert len(list(blocks)) == 4 and len(blocks[:3]) == 3 and len(blocks[1:]) == 3
    assert blocks[-1] is blocks[0] is blocks[:3][2]
    with pytest.raises(IndexError):
        blocks[4]


def test_segments_write_the_block_once():
    pytest.importorskip("onnx")
    from eat.deployment.segments import segment_model

    graph = segment_model(tiny_adaptive("albert", head_depths=[3]), 0, 3, received=False, bits=None).graph
    written = [one.name for one in graph.initializer if one.name.endswith("inner.weight")]
    assert written == ["block0.inner.weight"]


@pytest.mark.parametrize("key", ["num_hidden_groups", "inner_group_num"])
def test_several_groups_are_refused(key):
    with pytest.raises(ValueError, match=rf"of type albert with {key}=1, as all that are published, got 2"):
        AlbertBackbone.from_hf_config(AlbertConfig(**{key: 2}))


def test_embeddings_that_need_no_projection_are_refused():
    shape = AlbertBackbone.from_hf_config(tiny_config("albert"))
    for size in (None, shape.dim):
        with pytest.raises(ValueError, match=r"backbone\.embedding_size: expected another width than dim=32 "):
            dataclasses.replace(shape, embedding_size=size)
