"""The learn-forget feed-forward: what it computes, what it costs, and what refuses it."""

import json
import logging

import numpy as np
import pytest
import torch

from eat.backbones import BACKBONES, build_backbone
from eat.backbones.tiny import tiny_config
from eat.deployment import export_onnx
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.cost import CostModel, block_flops
from eat.modules.learn_forget import LearnForgetBlock
from eat.testing.checked import Checked
from eat.testing.models import check_in_model
from eat.training.compression import build_compression
from tests.made.models import make_batches
from tests.reference.tiny import randomise, tiny_hugging_face
from tests.training.made import read_conf

WITH = [name for name in BACKBONES if name != "modernbert"]


def made(model_type="bert", **options):
    theirs = tiny_hugging_face(model_type)
    options = {"head_depths": "all", "seed": 0, "feed_forward": "learn_forget"} | options
    model = AdaptiveForSequenceClassification.from_backbone(theirs, **options)
    randomise(model, 1)
    return model


def test_gates_by_hand():
    model = made()
    block = model.encoder.blocks[0]
    assert isinstance(block, LearnForgetBlock)
    rows = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        out = block.feed_forward(rows).numpy()
    weight, bias = block.inner.weight.detach().numpy(), block.inner.bias.detach().numpy()
    for x, y in zip(rows.numpy(), out, strict=True):
        forget, learn, new = (weight[i : i + 16] @ x + bias[i : i + 16] for i in (0, 16, 32))
        gated = x / (1 + np.exp(-forget)) + np.tanh(new) / (1 + np.exp(-learn))
        normed = (gated - gated.mean()) / np.sqrt(gated.var() + block.outer_norm.eps)
        expected = normed * block.outer_norm.weight.detach().numpy() + block.outer_norm.bias.detach().numpy()
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_type", WITH)
def test_it_keeps_what_every_model_keeps(model_type):
    """Packed rows answer as padded ones of the slow reference, alone as in any batch."""
    model = made(model_type, sep_token_id=4).double().eval()
    checked = Checked("learn_forget")
    for seed in range(3):
        check_in_model(checked, model, seed, masked=True)


def test_all_but_the_feed_forward_is_the_checkpoints(caplog):
    theirs = tiny_hugging_face()
    with caplog.at_level(logging.INFO):
        model = AdaptiveForSequenceClassification.from_backbone(theirs, feed_forward="learn_forget", seed=0)
    plain = AdaptiveForSequenceClassification.from_backbone(theirs, seed=0).state_dict()
    for name, tensor in model.state_dict().items():
        if ".inner." in name:
            assert tensor.shape[0] == 48
        else:
            assert torch.equal(tensor, plain[name])
    assert "the feed-forward of all blocks" in caplog.text


def test_it_is_saved_and_a_dense_one_says_nothing_of_it(tmp_path):
    model = made()
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["backbone"]["feed_forward"] == "learn_forget"
    loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path)
    (batch,) = make_batches(6, 6, vocab_size=48)
    with torch.inference_mode():
        outputs = [one.eval()(batch["input_ids"], lengths=batch["lengths"]).logits for one in (model, loaded)]
    assert torch.equal(*outputs)
    assert "feed_forward" not in made(feed_forward="dense").config.backbone


def test_it_learns():
    model = made().train()
    (batch,) = make_batches(8, 8, vocab_size=48)
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=5e-3), []
    for _ in range(40):
        loss = model(batch["input_ids"], lengths=batch["lengths"], labels=batch["labels"]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_cost_counts_its_weights():
    model = made()
    kept, depth = np.array([[7, 7, 7, 0]]), np.array([3])
    inner = sum(block.inner.weight.numel() for block in model.encoder.blocks) / 3
    dense = block_flops(7, 49, 16, 4 * 16**2 + int(inner))
    cost = CostModel(model.config)
    assert model.backbone.block_weights == 7 * 16**2
    heads = cost.executed(kept, depth, early_heads=False)[0] - 3 * dense
    assert heads == 2 * 16 * (16 + 3)


def test_int8_has_gates_too():
    model = made().quantize(anyway=True)
    (batch,) = make_batches(6, 6, vocab_size=48)
    with torch.inference_mode():
        together = model(batch["input_ids"], lengths=batch["lengths"]).logits
        alone = [model(one[None]).logits for one in batch["input_ids"].split(batch["lengths"].tolist())]
    assert torch.equal(torch.cat(alone), together)


def test_what_others_have_no_form_for_is_refused(tmp_path):
    model = made()
    with pytest.raises(ValueError, match="bert cannot have feed_forward='learn_forget'"):
        model.to_hugging_face()
    with pytest.raises(ValueError, match="cannot be exported: a learn-forget feed-forward has no graph"):
        export_onnx(model, None, tmp_path / "exported")
    with pytest.raises(ValueError, match=r"backbone\.feed_forward: expected one of \['dense'\], got 'learn_forget'"):
        made("modernbert")
    with pytest.raises(ValueError, match=r"backbone\.feed_forward: expected one of"):
        made(feed_forward="gated")
    shape = build_backbone(
        {"name": "bert", **dict.fromkeys(("vocab_size", "dim", "num_layers", "num_heads"), 2)}
        | {"intermediate_size": 4}
    )
    assert shape.feed_forward == "dense" and tiny_config("bert").intermediate_size == 64


def test_its_neurons_are_not_removed():
    with pytest.raises(ValueError, match="its feed-forward has gates"):
        build_compression(read_conf("compression/structured")).attach(made())
