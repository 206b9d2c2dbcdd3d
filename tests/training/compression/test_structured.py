"""Heads and neurons that are removed: the same answers as masked ones, smaller matrices, everywhere a model goes."""

import copy

import pytest
import torch

from eat import AdaptiveForSequenceClassification
from eat.models.cost import CostModel
from eat.testing.models import answer, draw_batch, make_model
from eat.testing.tiny import batch_of, tiny_adaptive
from eat.training.compression.gradual import mask_of
from eat.training.compression.structured import GroupMask
from tests.reference.masked import MaskedClassifier
from tests.training.made import make_compression
from tests.training.small import fit

HEADS, NEURONS = [[1], [0, 1], [0]], [[0, 3, 5], list(range(24)), [23]]


def narrowed(model_type="bert", **options):
    """A tiny model with two heads of eight and 24 neurons in each of three blocks, and the same one narrowed."""
    whole = tiny_adaptive(model_type, **options).double()
    model = copy.deepcopy(whole)
    model.keep_in_blocks(HEADS, NEURONS)
    return whole, model


def zeroed(model):
    """Zeros in the place of what is removed: the columns that read a head's rows, and a neuron's."""
    with torch.no_grad():
        for block, heads, neurons in zip(model.encoder.blocks, HEADS, NEURONS, strict=True):
            for head in {0, 1} - set(heads):
                block.mixed.weight[:, 8 * head : 8 * head + 8] = 0
            for neuron in set(range(24)) - set(neurons):
                block.outer.weight[:, neuron] = 0
    return model


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "roberta", "xlm-roberta", "electra"])
def test_removing_is_masking(model_type):
    whole, model = narrowed(model_type, pruner={"name": "l2_norm", "depths": [1], "ratio": 0.3})
    inputs = draw_batch(whole, 1)
    expected = answer(zeroed(whole), inputs, trace=True).all_logits
    torch.testing.assert_close(answer(model, inputs, trace=True).all_logits, expected)
    slow = MaskedClassifier(model)(inputs[0], inputs[1], inputs[2] if model.backbone.num_types > 1 else None)
    torch.testing.assert_close(answer(model, inputs).logits, slow.logits)


def test_matrices_are_smaller_and_so_is_the_work():
    whole, model = narrowed()
    shapes = [[tuple(part.weight.shape) for part in (b.qkv, b.mixed, b.inner, b.outer)] for b in model.encoder.blocks]
    assert shapes[0] == [(24, 16), (16, 8), (3, 16), (16, 3)]
    assert shapes[1] == [(48, 16), (16, 16), (24, 16), (16, 24)]
    assert model.backbone.weights_at(1) == 24 * 16 + 16 * 8 + 2 * 3 * 16
    before, after = (CostModel(one.config).dense(torch.tensor([7]).numpy()).item() for one in (whole, model))
    weights, width = 16 * (4 * (8 + 0 + 8) + 2 * (21 + 0 + 23)), 8 + 0 + 8
    assert before - after == 2 * 7 * weights + 4 * 49 * width


def test_it_is_saved_and_loaded_and_checked(tmp_path):
    _, model = narrowed()
    inputs = draw_batch(model, 2)
    model.save_pretrained(tmp_path)
    loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float64)
    assert loaded.backbone.block_heads == [1, 2, 1] and loaded.backbone.block_inner == [3, 24, 1]
    assert torch.equal(answer(loaded, inputs).logits, answer(model, inputs).logits)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"block_inner": [\n      3,', '"block_inner": [\n      4,'))
    with pytest.raises(ValueError, match=r"'backbone' or 'heads' in config.json are not those"):
        AdaptiveForSequenceClassification.from_pretrained(tmp_path)


def test_a_whole_model_says_nothing_of_it():
    spec = tiny_adaptive().config.backbone
    assert "block_heads" not in spec and "block_inner" not in spec


def test_hugging_face_gets_zeros_and_gives_the_same_answers(caplog):
    caplog.set_level("INFO")
    _, model = narrowed()
    theirs = model.to_hugging_face()
    assert "heads and neurons that were removed are zeros there" in caplog.text
    ids, mask, types = batch_of([5, 9, 3])
    torch.testing.assert_close(
        theirs(ids, attention_mask=mask, token_type_ids=types).logits, answer(model, (ids, mask, types)).logits
    )
    assert theirs.config.num_attention_heads == 2 and theirs.config.intermediate_size == 24


@pytest.mark.parametrize("made", ["quantize", "pack"])
def test_engines_for_inference_take_it(made):
    _, model = narrowed()
    model = model.float()
    inputs = draw_batch(model, 5)
    served = model.quantize(anyway=True) if made == "quantize" else model.pack()
    within = 0.2 if made == "quantize" else 1e-5
    torch.testing.assert_close(answer(served, inputs).logits, answer(model, inputs).logits, rtol=0, atol=within)
    stream = [{"input_ids": row[live].tolist()} for row, live in zip(inputs[0], inputs[1].bool(), strict=True)]
    assert len(list(model.predict_stream(stream, batch_size=2))) == len(stream)


@pytest.mark.parametrize(
    ("pruner", "attention"),
    [
        ("l2_norm", {"name": "full"}),
        ("attention_received", {"name": "full"}),
        ("l2_norm", {"name": "windowed", "window": 8}),  # of the long text by blocks
    ],
)
def test_exported_segments_take_it(pruner, attention, tmp_path):
    pytest.importorskip("onnxruntime")
    from eat.benchmark.engines import ENGINES, Source

    part = {"name": pruner, "depths": [1], "ratio": 0.3}
    _, model = narrowed(pruner=part, attention=attention, max_length=300)
    model = model.float()
    engine, source = ENGINES["eat_onnx"], Source(model)
    call = engine.call(engine.save(source, tmp_path, "eat_onnx"))
    words = torch.randint(5, 40, (290,), generator=torch.Generator().manual_seed(0)).tolist()
    batch = [{"input_ids": [2, *words[:n], 4], "token_type_ids": [0] * (n + 2)} for n in (3, 290)]
    expected = [model(**{k: torch.tensor([v]) for k, v in one.items()}).logits[0].tolist() for one in batch]
    for got, wanted in zip(call(batch).tolist(), expected, strict=True):
        assert got == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(
    ("heads", "neurons", "message"),
    [
        (HEADS[:2], NEURONS, "heads: expected 3 ascending lists of numbers below"),
        ([[1], [1, 0], [0]], NEURONS, "heads: expected"),
        ([[], [0], [0]], NEURONS, "heads: expected"),
        (HEADS, [[0], [24], [0]], "neurons: expected 3 ascending lists"),
        (HEADS, [[0], [-1], [0]], "neurons: expected"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(heads, neurons, message):
    model = tiny_adaptive()
    before = copy.deepcopy(model.config.backbone)
    with pytest.raises(ValueError, match=message):
        model.keep_in_blocks(heads, neurons)
    assert model.config.backbone == before


@pytest.mark.parametrize(
    ("model_type", "reason"), [("albert", "one block"), ("mpnet", "bias"), ("modernbert", "gated")]
)
def test_encoders_whose_blocks_cannot_differ_are_refused(model_type, reason):
    model = tiny_adaptive(model_type)
    with pytest.raises(ValueError, match=rf"compression.name: 'structured' cannot narrow a {model_type} .*{reason}"):
        make_compression("structured").attach(model)
    with pytest.raises(ValueError, match=rf"backbone.block_heads: expected none for this encoder, since .*{reason}"):
        model.keep_in_blocks(HEADS, NEURONS)


def test_a_pruner_that_reads_all_heads_is_refused():
    model = make_model(pruner={"name": "attention_received", "depths": [1], "ratio": 0.3})
    with pytest.raises(ValueError, match=r"compression.name: 'structured' removes heads, .* take pruner=l2_norm"):
        make_compression("structured").attach(model)


def test_scores_get_the_first_order_effect_of_their_gate():
    model, compression = make_model(), make_compression("structured")
    compression.attach(model)
    compression.update(model, 0, 10)
    ids = torch.randint(5, 40, (4, 9))
    model(ids, labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    for block in model.encoder.blocks:
        for layer, groups in ((block.mixed, 2), (block.outer, 24)):
            weight = layer.parametrizations.weight.original
            effect = (weight.grad * weight).unflatten(1, (groups, -1)).sum((0, 2))  # all gates are open
            torch.testing.assert_close(mask_of(layer, GroupMask).scores.grad, effect)


def test_a_training_ends_with_as_many_heads_and_neurons_as_asked(tmp_path):
    module, checkpoints, _ = fit(
        tmp_path, compression=make_compression("structured", neurons=0.4, multiple=8), max_epochs=4
    )
    assert checkpoints.best_step >= round(0.7 * 24)
    whole = [block.inner_size for block in module.model.encoder.blocks]
    finished = module.finished_model()
    heads = {block.num_heads for block in finished.encoder.blocks}
    inner = {block.inner_size for block in finished.encoder.blocks}
    assert heads == {2} and inner == {8 * round(0.4 * whole[0] / 8)}
    assert finished.config.backbone["block_inner"] == [*inner] * 3


@pytest.mark.parametrize(
    ("heads", "neurons", "multiple", "left"),
    [
        (1.0, 1.0, 16, (2, 24)),
        (0.1, 0.5, 16, (1, 16)),
        (0.5, 0.4, 1, (1, 10)),
        (0.5, 0.4, 8, (1, 8)),
        (1.0, 1.0, 64, (2, 24)),
    ],
)
def test_shares_are_rounded_and_something_is_left(heads, neurons, multiple, left):
    model = tiny_adaptive()
    compression = make_compression("structured", heads=heads, neurons=neurons, multiple=multiple)
    compression.attach(model)
    block = compression.finish(model).encoder.blocks[0]
    assert (block.num_heads, block.inner_size) == left


@pytest.mark.parametrize(
    ("neurons", "multiple", "said"),
    [(0.5, 64, "got 64, which would keep none"), (0.1, 16, "got 16, which would keep none"), (0.9, 12, "keep all")],
)
def test_a_multiple_that_is_no_share_is_refused(neurons, multiple, said):
    model = tiny_adaptive()
    compression = make_compression("structured", neurons=neurons, multiple=multiple)
    with pytest.raises(ValueError, match=rf"compression\.multiple: .* about {neurons} of a block's 24, .*{said}"):
        compression.attach(model)
    assert not any("parametrizations" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize("num_layers", [None, 2])
def test_another_model_of_its_weights_is_as_narrow(tmp_path, num_layers):
    model = tiny_adaptive(exit={"name": "never"}, head_depths=[])
    model.keep_in_blocks([[1]] * model.num_layers, [[0, 3, *range(7, 13)]] * model.num_layers)
    model.save_pretrained(tmp_path)
    ids = torch.randint(5, 20, (3, 9))
    for source in (model, tmp_path):
        again = AdaptiveForSequenceClassification.from_backbone(source, num_layers=num_layers, head_depths=[1])
        assert again.config.backbone["block_heads"] == [1] * again.num_layers
        assert again.config.backbone["block_inner"] == [8] * again.num_layers
        if num_layers is None:
            torch.testing.assert_close(again(ids).logits, model(ids).logits)
            assert again.flops(*one_row(again, ids)) < tiny_adaptive().flops(*one_row(again, ids))
    with pytest.raises(ValueError, match=r"feed_forward: expected 'dense' for a checkpoint whose heads and neurons"):
        AdaptiveForSequenceClassification.from_backbone(model, feed_forward="learn_forget")


def one_row(model, ids):
    output = model(ids[:1])
    return output.tokens_kept, output.exit_depth
