"""Options of ``from_backbone`` and the setters: what is possible, and what an error says."""

import re

import pytest
import torch
from transformers import GPT2Config

from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.config import AdaptiveConfig
from tests.reference.tiny import batch_of, tiny_adaptive, tiny_hugging_face

build = AdaptiveForSequenceClassification.from_backbone

BAD_OPTIONS = [
    ({"pruner": {"name": "l2_norm", "ratio": 1.0}}, r"pruner\.ratio: expected a number in \[0, 1\), got 1\.0"),
    ({"pruner": {"name": "l2_norm", "ratio": -0.1}}, r"pruner\.ratio: expected a number in \[0, 1\), got -0\.1"),
    (
        {"pruner": {"name": "l2_norm", "depths": [1, 2], "ratio": [0.3]}},
        r"pruner\.ratio: expected one number or one",
    ),
    ({"pruner": {"name": "l2_norm", "depths": [2, 4]}}, r"pruner\.depths: expected depths between 1 and 3"),
    ({"pruner": {"name": "l2_norm", "depths": [2, 1]}}, r"pruner\.depths: expected a list of increasing integers"),
    (
        {"pruner": {"name": "l2_norm", "depths": [0]}},
        r"pruner\.depths: expected a list of increasing",
    ),
    ({"pruner": {"name": "l2_norm", "depths": [1], "min_tokens": -1}}, r"pruner\.min_tokens: expected .*0 or more"),
    (
        {"pruner": {"name": "l2norm"}},
        r"pruner\.name: expected one of .*'random'\], got 'l2norm' .*'l2_norm'",
    ),
    ({"pruner": {"name": "none", "ratio": 0.3}}, r"pruner\.ratio: pruner 'none' takes no arguments, got 'ratio'"),
    ({"pruner": {"depths": [1]}}, r"pruner: expected a mapping with a 'name'"),
    ({"exit": {"name": "confidence", "threshold": 1.1}}, r"exit\.threshold: expected a number in \[0, 1\], got 1\.1"),
    ({"exit": {"name": "entropy", "threshold": -0.1}}, r"exit\.threshold: expected a number in \[0, 1\], got -0\.1"),
    ({"exit": {"name": "margin", "threshold": [0.5] * 3}}, r"exit\.threshold: .* one for each of the 2 classes, got 3"),
    (
        {"exit": {"name": "margin", "threshold": [0.5, 1.5]}},
        r"exit\.threshold\[1\]: expected a number in \[0, 1\], got 1\.5",
    ),
    ({"exit": {"name": "difference"}}, r"exit\.name: 'difference' needs one predicted number .*num_labels=2"),
    ({"exit": {"name": "patience", "patience": 0}}, r"exit\.patience: expected an integer of 1 or more, got 0"),
    ({"exit": {"name": "confident"}}, r"exit\.name: expected one of \[.*'confidence'.*did you mean 'confidence'"),
    ({"exit": {"name": "confidence", "tau": 0.9}}, r"exit\.tau: exit 'confidence' takes \['threshold', .*got 'tau'"),
    (
        {"attention": {"name": "windowed", "window": 7}},
        r"attention\.window: expected an even integer .*, got 7",
    ),
    (
        {"attention": {"name": "windowed", "window": 0}},
        r"attention\.window: expected an even integer .*, got 0",
    ),
    ({"attention": {"name": "window"}}, r"attention\.name: expected one of \['full', 'windowed'\]"),
    ({"attention": {"name": "windowed", "global_tokens": ["sep"]}}, r"attention\.global_tokens: expected"),
    (
        {"attention": {"name": "windowed", "global_tokens": ["cls", "sep"]}},
        r"'sep' needs the separator's id",
    ),
    ({"head_depths": [5]}, r"head_depths: expected depths between 1 and 4, got 5"),
    ({"head_depths": [0]}, r"head_depths: expected depths between 1 and 4, got 0"),
    ({"head_depths": "every"}, r"head_depths: expected 'all' or a list of depths, got 'every'"),
    ({"head_pooling": "max"}, r"head_pooling: expected one of \['cls', 'mean'\], got 'max'"),
    ({"final_head_pooling": "max"}, r"final_head_pooling: expected one of \['cls', 'mean'\], got 'max'"),
    ({"num_layers": 5}, r"num_layers: expected an integer between 1 and 4, got 5"),
    ({"num_layers": 0}, r"num_layers: expected an integer between 1 and 4, got 0"),
    (
        {"problem_type": "several"},
        r"problem_type: expected 'single_label_classification', 'multi_label_class.*' or None",
    ),
    (
        {"problem_type": "multi_label_classification", "num_labels": 1},
        r"problem_type: expected 'regression' or None with num_labels=1, got 'multi_label_classification'",
    ),
    (
        {
            "problem_type": "multi_label_classification",
            "exit": {"name": "confidence", "threshold": [0.8, 0.9, 0.7]},
            "num_labels": 3,
        },
        r"exit\.threshold: expected one number for a multi-label model, .* got \[0.8, 0.9, 0.7\]",
    ),
    (
        {"problem_type": "multi_label_classification", "exit": {"name": "difference"}, "num_labels": 3},
        r"exit\.name: 'difference' needs one predicted number",
    ),
    ({"problem_type": "regression", "num_labels": 3}, r"problem_type: expected .* with num_labels=3, got 'regression'"),
    ({"num_labels": 0}, r"num_labels: expected an integer of 1 or more, got 0"),
    ({"num_labels": 3, "id2label": {0: "a", 1: "b"}}, r"id2label: expected num_labels=3 names, got 2"),
    ({"max_length": 0}, r"backbone\.max_length: expected an integer of 1 or more, got 0"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_bad_option(options, message):
    options = {"pruner": {"name": "none"}} | options
    if options["pruner"].get("name") == "l2_norm":
        options["pruner"] = {"depths": [1]} | options["pruner"]
    with pytest.raises(ValueError, match=message):
        build(tiny_config(), **options)


def test_depth_beyond_a_cut_model():
    with pytest.raises(ValueError, match=r"pruner\.depths: expected depths between 1 and 1"):
        build(tiny_config(), num_layers=2, pruner={"name": "random", "depths": [2]})


def test_unknown_model_type():
    with pytest.raises(ValueError, match=r"(bert|model_type).*gpt2"):
        build(GPT2Config(n_layer=1, n_embd=8, n_head=1))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_checkpoint_with_weights_that_are_no_numbers(value):
    model = tiny_hugging_face()
    with torch.no_grad():
        model.bert.encoder.layer[1].output.dense.bias[3] = value
    with pytest.raises(
        ValueError, match=r"backbone: expected finite weights, got NaN or infinity in 'blocks.1.outer.bias'"
    ):
        AdaptiveForSequenceClassification.from_backbone(model)
    assert AdaptiveForSequenceClassification.from_backbone(model, num_layers=1).num_layers == 1


def test_no_checkpoint_there(tmp_path):
    with pytest.raises((OSError, ValueError), match=str(tmp_path.name)):
        build(str(tmp_path))


def test_setters_refuse_and_leave_the_model_as_it_was():
    model = tiny_adaptive(pruner={"name": "l2_norm", "depths": [1]}, exit={"name": "confidence", "threshold": 0.7})
    before = model.config.to_dict()
    parts = model.encoder.pruner, model.encoder.exit_criterion, model.encoder.blocks[0].attention
    for setter, spec, message in (
        (model.set_pruner, {"name": "l2_norm", "depths": [3]}, "pruner.depths"),
        (model.set_pruner, {"name": "l2_norm", "rate": 0.3}, "pruner.rate"),
        (model.set_exit, {"name": "confidence", "threshold": 2.0}, "exit.threshold"),
        (model.set_exit, {"name": "nobody"}, "exit.name"),
        (model.set_attention, {"name": "windowed", "window": 3}, "attention.window"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            setter(**spec)
    assert model.config.to_dict() == before
    assert (model.encoder.pruner, model.encoder.exit_criterion, model.encoder.blocks[0].attention) == parts


def test_setters_act_at_once():
    model = tiny_adaptive()
    ids, mask, _ = batch_of([20, 9])
    model.set_exit(name="confidence", threshold=0.0)
    assert model(ids, mask).exit_depth.tolist() == [1, 1]
    model.set_exit(name="never")
    model.set_pruner(name="l2_norm", depths=[1], ratio=0.5)
    assert model(ids, mask).tokens_kept[:, 1].tolist() == [11, 5]
    full = model(ids, mask).logits
    model.set_attention(name="windowed", window=2)
    assert not torch.equal(model(ids, mask).logits, full)
    assert model.pruner.depths == (1,) and not model.exit_criterion.active


def test_attention_set_later_protects_its_global_tokens():
    model = tiny_adaptive(pruner={"name": "l2_norm", "depths": [1], "ratio": 0.9, "min_tokens": 0})
    ids, _, _ = batch_of([11])
    assert model(ids).tokens_kept[0, 1] == 2
    model.set_attention(name="windowed", window=4, global_tokens=["cls", "sep"])
    assert model(ids).tokens_kept[0, 1] == 1 + 1 + 1  # [CLS], [SEP] and one of nine
    model.set_attention(name="full")
    assert model(ids).tokens_kept[0, 1] == 2


def test_properties():
    model = tiny_adaptive(head_depths=[1])
    assert (model.num_layers, model.head_depths) == (3, (1, 3))
    assert model.config.num_labels == model.config.num_outputs == 3
    assert model.config.keys_to_ignore_at_inference == ["exit_depth", "tokens_kept", "all_logits"]


def test_labels_by_name():
    names = {0: "neg", 1: "pos"}
    model = build(tiny_hugging_face(num_labels=3), id2label=names, problem_type="single_label_classification")
    assert model.config.num_labels == 2
    assert model.config.label2id == {"neg": 0, "pos": 1}
    assert model.config.problem_type == "single_label_classification"


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("depths", [[1, 3], [2], [3], [1, 2, 3]])
def test_chosen_heads_answer_as_they_do_among_all(depths, training):
    model = tiny_adaptive(pruner={"name": "l2_norm", "depths": [1], "ratio": 0.5}, exit={"name": "never"})
    ids, mask, types = batch_of([20, 3, 11])
    everyone = model(ids, mask, types, trace=True)
    chosen = model.train(training)(ids, mask, types, head_depths=depths)
    columns = [depth - 1 for depth in depths]
    torch.testing.assert_close(chosen.all_logits, everyone.all_logits[:, columns], rtol=0, atol=0)
    assert torch.equal(chosen.logits, chosen.all_logits[:, -1])
    assert set(chosen.exit_depth.tolist()) == {depths[-1]}
    assert torch.equal(chosen.tokens_kept[:, : depths[-1]], everyone.tokens_kept[:, : depths[-1]])
    assert not chosen.tokens_kept[:, depths[-1] :].any(), "no block behind the last chosen head ran"


def test_the_training_loss_is_that_of_the_chosen_heads():
    model = tiny_adaptive().train()
    ids, mask, types = batch_of([20, 3, 11])
    labels = torch.tensor([0, 2, 1])
    output = model(ids, mask, types, labels=labels, head_depths=[2, 3])
    per_head = [torch.nn.functional.cross_entropy(logits, labels) for logits in output.all_logits.unbind(1)]
    torch.testing.assert_close(output.loss, 0.3 * per_head[0] + per_head[1])


@pytest.mark.parametrize("depths", [[], [2, 1], [2, 2], [4], [0]])
def test_heads_that_are_not_there_are_refused(depths):
    message = re.escape(f"head_depths: expected some of [1, 2, 3] in ascending order, got {depths}")
    with pytest.raises(ValueError, match=message):
        tiny_adaptive()(*batch_of([5, 3]), head_depths=depths)


@pytest.mark.parametrize("key", ["backbone", "heads", "exit", "problem_type", "id2label"])
def test_a_refused_configuration_shows_no_more_of_a_value_than_one_reads(key):
    saved = tiny_adaptive().config.to_dict() | {key: "x" * 5_000}
    with pytest.raises(ValueError, match=f"{key}: expected .*xxx") as caught:
        AdaptiveConfig.from_dict(saved).check()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
