"""ModernBERT: local layers of its own, rotary positions, one final norm, and heads that read either."""

import copy
import dataclasses

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, ModernBertConfig

from eat.attention.local import LocalAttention
from eat.attention.rotary import RotaryAttention
from eat.attention.windowed import BLOCKED_FROM, WindowedAttention
from eat.backbones.modernbert import ModernBertBackbone
from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.training.retrofit import load_classifier
from tests.attention.test_windowed import packed, random_qkv
from tests.models.test_removing_is_masking import PRUNER, assert_equal_to_masked
from tests.reference.tiny import batch_of, configure, pack, randomise, tiny_adaptive, tiny_hugging_face
from tests.reference.unchecked import unchecked

LENGTHS = [300, 5, BLOCKED_FROM - 1, BLOCKED_FROM, 17, 257]
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
PAD = tiny_config("modernbert").pad_token_id


def long_batch():
    ids, mask, types = batch_of(LENGTHS, pad=PAD)
    return {"input_ids": ids, "attention_mask": mask}, pack(ids, mask, types)["input_ids"], mask.sum(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_long_texts_equal_hugging_face_padded_and_packed(dtype):
    """Local layers in blocks, denser masks and no mask at all."""
    theirs = tiny_hugging_face("modernbert", max_length=300, num_layers=5)
    model = AdaptiveForSequenceClassification.from_backbone(theirs).to(dtype)
    padded, ids, lengths = long_batch()
    with torch.no_grad():
        expected = theirs.to(dtype)(**padded).logits
        torch.testing.assert_close(model(**padded).logits, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(model(ids, lengths=lengths).logits, expected, rtol=0, atol=1e-5)


def test_gradients_of_long_texts_equal_hugging_faces():
    """Padding in local layers sees no token of its own, and still leaves no NaN."""
    theirs = tiny_hugging_face("modernbert", max_length=300, num_layers=4).train()
    model = AdaptiveForSequenceClassification.from_backbone(theirs).train()
    padded, ids, lengths = long_batch()
    model(ids, lengths=lengths, labels=LABELS).loss.backward()
    theirs(**padded, labels=LABELS).loss.backward()
    ours = {name: parameter.grad for name, parameter in model.encoder.named_parameters()}
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for layer in range(4):
        for part, their_part in (("qkv", "attn.Wqkv"), ("inner", "mlp.Wi"), ("outer_norm", "mlp_norm")):
            name, their_name = f"blocks.{layer}.{part}.weight", f"model.layers.{layer}.{their_part}.weight"
            torch.testing.assert_close(ours[name], expected[their_name], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(ours["norm.weight"], expected["model.final_norm.weight"], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("attention", [{"name": "full"}, {"name": "windowed", "window": 10}])
def test_long_texts_pruned_equal_masked_ones(attention):
    """Windows and rotary positions go by where tokens stood before others were pruned."""
    model = tiny_adaptive("modernbert", num_layers=4, max_length=330, head_pooling="mean").double()
    configure(model, attention, PRUNER, {"name": "confidence", "threshold": 0.6613})
    assert_equal_to_masked(model, *batch_of(LENGTHS, "holes", seed=1, width=320, pad=PAD))


def test_pruning_moves_no_token():
    """The rows that stay attend to each other as they did where they stood, and otherwise if they closed up."""
    state = packed([40, 9], holes=0.0)
    qkv, keep = random_qkv(state), torch.arange(49) % 3 == 0
    keep[[0, 40]] = True
    part = RotaryAttention(WindowedAttention(window=4096), 100.0)
    kept = state.keep_tokens(keep)
    mixed, _ = part(qkv[keep], kept, dropout=0.0, received=False)
    closed = dataclasses.replace(kept, positions=torch.cat([torch.arange(n) for n in kept.host_lengths]), _cache={})
    assert not torch.allclose(mixed, part(qkv[keep], closed, dropout=0.0, received=False)[0], atol=1e-3)
    moved = dataclasses.replace(kept, positions=kept.positions + 7, _cache={})
    shifted = part(qkv[keep], moved, dropout=0.0, received=False)[0]
    torch.testing.assert_close(mixed, shifted, rtol=0, atol=1e-5)  # angles are float32


@pytest.mark.parametrize("lengths", [[3, 20, 11], [300, 7, 200]])
def test_local_attention_equals_a_mask_and_sees_no_global_token(lengths):
    state = packed(lengths, holes=0.3)
    qkv = random_qkv(state).requires_grad_()
    mixed, received = LocalAttention(6)(qkv, state, dropout=0.0, received=True)
    sequence, positions = state.sequence, state.positions
    near = (positions.unsqueeze(0) - positions.unsqueeze(1)).abs() <= 3
    visible = near & (sequence.unsqueeze(0) == sequence.unsqueeze(1))
    q, k, v = qkv.permute(1, 2, 0, 3)
    scores = (q @ k.transpose(1, 2)) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~visible, -torch.inf).softmax(-1)
    torch.testing.assert_close(mixed, (weights @ v).transpose(0, 1).flatten(1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(received, weights.mean(0).sum(0), rtol=1e-9, atol=1e-9)
    mixed.sum().backward()
    assert qkv.grad.isfinite().all()


def test_the_models_attention_is_that_of_global_layers():
    model = tiny_adaptive("modernbert", num_layers=5, attention={"name": "windowed", "window": 4})
    parts = [block.attention.attention for block in model.encoder.blocks]
    assert [type(part) for part in parts[::3]] == [WindowedAttention] * 2
    assert [part.window for part in parts] == [4, 8, 8, 4, 8]
    model.set_attention(name="windowed", window=6)
    assert [block.attention.attention.window for block in model.encoder.blocks] == [6, 8, 8, 6, 8]
    assert model.flops(torch.tensor([[40] * 5 + [0]]), torch.tensor([5])) == model.dense_flops(torch.tensor([40]))


def test_early_heads_read_normalised_rows():
    model = tiny_adaptive("modernbert")
    seen = []
    model.encoder.heads["1"].before.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.encoder.norm.weight.fill_(1)
        model(*batch_of([9, 4], pad=PAD)[:2], trace=True)
    torch.testing.assert_close(seen[0].std(1, unbiased=False), torch.ones(2), rtol=0, atol=1e-3)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_classifiers_own_pooling_is_kept(pooling, tmp_path):
    config = tiny_config("modernbert")
    config.num_labels, config.classifier_pooling = 3, pooling
    theirs = AutoModelForSequenceClassification.from_config(config).eval()
    randomise(theirs)
    theirs.save_pretrained(tmp_path)
    model = AdaptiveForSequenceClassification.from_backbone(str(tmp_path))
    ids, mask, _ = batch_of([20, 3, 11], pad=PAD)
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask).logits
        torch.testing.assert_close(model(ids, mask).logits, expected, rtol=0, atol=1e-5)
    assert model.config.head_pooling(4) == pooling == load_classifier(str(tmp_path))[1]
    assert model.to_hugging_face().config.classifier_pooling == pooling


def test_a_masked_language_model_brings_its_norm_and_dense_layer(tmp_path, caplog):
    theirs = AutoModelForMaskedLM.from_config(tiny_config("modernbert"))
    randomise(theirs)
    theirs.save_pretrained(tmp_path)
    with caplog.at_level("INFO", logger="eat"):
        model = AdaptiveForSequenceClassification.from_backbone(str(tmp_path), num_labels=2)
    assert "'out' of the head at depth 4" in caplog.text and "'dense'" not in caplog.text
    assert torch.equal(model.encoder.heads["4"].dense.weight, theirs.head.dense.weight)
    assert torch.equal(model.encoder.heads["4"].activation.norm.weight, theirs.head.norm.weight)
    assert torch.equal(model.encoder.norm.weight, theirs.model.final_norm.weight)


def test_published_shapes_are_read():
    """The defaults of the config are ModernBERT-base's; older files name the rule instead of every layer's type."""
    shape = ModernBertBackbone.from_hf_config(ModernBertConfig())
    assert (shape.num_layers, shape.local_window, shape.global_every, shape.max_length) == (22, 128, 3, 8192)
    assert (shape.global_theta, shape.local_theta, shape.sep_token_id) == (160_000.0, 10_000.0, 50282)
    older = ModernBertConfig(global_attn_every_n_layers=2, global_rope_theta=500.0, local_rope_theta=50.0)
    shape = ModernBertBackbone.from_hf_config(older)
    assert (shape.global_every, shape.global_theta, shape.local_theta) == (2, 500.0, 50.0)
    one = dataclasses.replace(shape, num_layers=1)
    assert ModernBertBackbone.from_hf_config(one.to_hf_config()) == one


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_bias": True}, "backbone: expected a checkpoint of type modernbert with norm_bias=False, .* got True"),
        ({"classifier_activation": "relu"}, "of type modernbert with classifier_activation='gelu'"),
        ({"layer_types": ["sliding_attention"] * 22}, "backbone: expected a modernbert whose every n-th layer"),
    ],
)
def test_what_is_not_built_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ModernBertBackbone.from_hf_config(ModernBertConfig(**changes))


def test_other_rotary_angles_are_refused():
    config = copy.deepcopy(ModernBertConfig())
    config.rope_parameters["full_attention"] |= {"rope_type": "linear", "factor": 2.0}
    with pytest.raises(ValueError, match="backbone: expected a modernbert with rope_type 'default'"):
        ModernBertBackbone.from_hf_config(config)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("local_window", 7, "backbone.local_window: expected an even number, got 7"),
        ("local_window", 0, r"backbone\.local_window: "),
        ("global_every", 0, r"backbone\.global_every: "),
        ("global_theta", 0.0, r"backbone\.global_theta: "),
        ("num_heads", 12, r"backbone\.dim: expected heads of an even width for rotary positions, got 36"),
    ],
)
def test_impossible_shapes_are_refused(key, value, message):
    shape = {"vocab_size": 9, "dim": 36, "num_layers": 1, "num_heads": 2, "intermediate_size": 8}
    with pytest.raises(ValueError, match=message):
        unchecked(ModernBertBackbone, **shape | {key: value})
