"""MPNet: one position bias on the scores of all layers, by where tokens stood before others were pruned."""

import dataclasses

import pytest
import torch
from transformers import MPNetConfig
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

from eat.attention import ATTENTIONS
from eat.attention.full import FullAttention
from eat.backbones.mpnet import MPNetBackbone
from eat.backbones.tiny import tiny_config
from eat.benchmark.engines.hugging_face import hugging_face_call
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.ops.relative import relative_bucket
from tests.models.test_removing_is_masking import PRUNER, assert_equal_to_masked
from tests.reference.tiny import batch_of, configure, pack, tiny_adaptive, tiny_hugging_face

LENGTHS = [300, 5, 191, 192, 17]
LABELS = torch.tensor([0, 1, 2, 0, 1])


def test_buckets_are_hugging_faces():
    distance = torch.arange(-700, 701)
    assert torch.equal(relative_bucket(distance), MPNetEncoder.relative_position_bucket(distance))


def test_long_texts_and_their_gradients_equal_hugging_faces():
    theirs = tiny_hugging_face("mpnet", max_length=300).train()
    model = AdaptiveForSequenceClassification.from_backbone(theirs).train()
    ids, mask, types = batch_of(LENGTHS, pad=1)
    inputs = pack(ids, mask, types)
    ours = model(inputs["input_ids"], lengths=inputs["lengths"], labels=LABELS, head_depths=[3])
    expected = theirs(input_ids=ids, attention_mask=mask, labels=LABELS)
    torch.testing.assert_close(ours.logits, expected.logits, rtol=0, atol=1e-5)
    ours.loss.backward()
    expected.loss.backward()
    bias = model.encoder.embeddings.position_bias.table.weight.grad
    torch.testing.assert_close(bias, theirs.mpnet.encoder.relative_attention_bias.weight.grad, rtol=1e-3, atol=1e-6)
    assert bias.abs().max() > 1e-4


@pytest.mark.parametrize(
    "attention", [{"name": "full"}, {"name": "windowed", "window": 10, "global_tokens": ["cls", "sep"]}]
)
def test_long_texts_pruned_equal_masked_ones(attention):
    model = tiny_adaptive("mpnet", max_length=330, head_pooling="mean").double()
    configure(model, attention, PRUNER, {"name": "confidence", "threshold": 0.6613})
    assert_equal_to_masked(model, *batch_of(LENGTHS, "holes", seed=1, width=320, pad=1))


def test_a_copy_and_a_loaded_model_read_their_own_bias(tmp_path):
    model = tiny_adaptive("mpnet")
    model.save_pretrained(tmp_path)
    batch = batch_of([20, 3, 11], pad=1)[:2]
    with torch.no_grad():
        before = model(*batch).logits
        for twin in (AdaptiveForSequenceClassification.from_pretrained(tmp_path), model.quantize(anyway=True).encoder):
            encoder = getattr(twin, "encoder", twin)
            assert all(block.attention.bias is encoder.embeddings.position_bias for block in encoder.blocks)
        model.encoder.embeddings.position_bias.table.weight.mul_(3)
        assert not torch.equal(model(*batch).logits, before)
        loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path)
        assert torch.equal(loaded(*batch).logits, before)


class Foreign:
    """An attention part of another package."""

    global_tokens = ("cls",)

    def __call__(self, *arguments, **options):
        return FullAttention()(*arguments, **options)

    def pairs(self, length, extent, num_global):
        return length * length


def test_an_attention_that_cannot_add_the_bias_is_refused():
    with ATTENTIONS.lent("foreign", Foreign):
        model = tiny_adaptive("mpnet")
        with pytest.raises(ValueError, match=r"attention: expected full or windowed with an mpnet .* got Foreign"):
            model.set_attention(name="foreign")
        assert model.config.attention == {"name": "full"}
        tiny_adaptive("bert").set_attention(name="foreign")


def test_hugging_faces_own_model_is_timed_though_it_has_no_sdpa():
    theirs = tiny_hugging_face("mpnet")
    model = AdaptiveForSequenceClassification.from_backbone(theirs)
    with torch.inference_mode():
        answers = hugging_face_call(theirs, 1)([{"input_ids": [0, 7, 9, 2]}, {"input_ids": [0, 2]}])
        expected = model(torch.tensor([0, 7, 9, 2, 0, 2]), lengths=[4, 2]).logits
    torch.testing.assert_close(torch.from_numpy(answers), expected, rtol=0, atol=1e-5)


def test_another_number_of_buckets_is_refused():
    with pytest.raises(ValueError, match=r"of type mpnet with relative_attention_num_buckets=32, .* got 16"):
        MPNetBackbone.from_hf_config(MPNetConfig(relative_attention_num_buckets=16))


def test_published_shapes_are_read():
    shape = MPNetBackbone.from_hf_config(MPNetConfig(max_position_embeddings=514))
    assert (shape.dim, shape.num_layers, shape.max_length, shape.num_types) == (768, 12, 512, 0)
    assert dataclasses.replace(shape, num_layers=3).to_hf_config().max_position_embeddings == 514
    assert tiny_config("mpnet").pad_token_id == 1
