"""A retrofit answers at full depth as the classifier did, bit for bit, in the task's order of classes."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy
from transformers import AutoModel, GPT2Config, GPT2ForSequenceClassification

from eat.backbones import BACKBONES
from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.training.heads import HeadsModule
from eat.training.retrofit import ClassifierBackbone, load_classifier
from eat.training.schedule import PruningSchedule
from tests.made.models import TASK, make_model
from tests.reference.tiny import MODEL_TYPES, batch_of, pad_id, tiny_adaptive, tiny_hugging_face
from tests.training.made import make_adamw, make_compression, make_objective, make_scheduler, make_tiny_backbone

THREE = dataclasses.replace(TASK, label_names=("bad", "fair", "good"), num_labels=3)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    texts = [f"word{number} good bad" for number in range(9)]
    return make_tiny_backbone(vocab_size=40).tokenizer(lambda: texts, tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def save(tmp_path, tokenizer):
    """Return a function that saves a classifier with its tokenizer and gives back the folder."""

    def write(model, name="classifier"):
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        return tmp_path / name

    return write


def named(model, *names):
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: index for index, name in enumerate(names)}
    return model


def backbone_for(folder, **options):
    defaults = {"labels": None, "max_length": 40, "head_pooling": "mean"}
    return ClassifierBackbone(name="classifier", classifier=str(folder), **defaults | options)


def build(folder, task=THREE, labels=None, **options):
    backbone = backbone_for(folder, labels=labels)
    defaults = {"attention": {"name": "full"}, "pruner": {"name": "none"}, "exit": {"name": "never"}}
    defaults |= {"head_depths": "all", "head_pooling": "mean", "seed": 0}
    return backbone.build(backbone.tokenizer(list, folder), task, **defaults | options)


def answers(model, model_type="bert"):
    ids, mask, types = batch_of([3, 9, 17, 5], pad=pad_id(model_type))
    takes_types = BACKBONES[model_type].from_hf_config(tiny_config(model_type)).num_types > 1
    inputs = {"input_ids": ids, "attention_mask": mask} | ({"token_type_ids": types} if takes_types else {})
    with torch.no_grad():
        return model(**inputs).logits


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_full_depth_answers_as_the_classifier_does(save, model_type):
    theirs = tiny_hugging_face(model_type)
    plain = AdaptiveForSequenceClassification.from_backbone(theirs)
    ours = build(save(named(theirs, "bad", "fair", "good")))
    assert ours.head_depths == (1, 2, 3)
    assert torch.equal(answers(ours, model_type), answers(plain, model_type))
    torch.testing.assert_close(answers(ours, model_type), answers(theirs, model_type), rtol=0, atol=1e-5)
    assert [ours.config.head_pooling(depth) for depth in (1, 2, 3)] == ["mean", "mean", "cls"]


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_trained_run_is_taken_from_its_folder_and_its_head_reads_what_it_read(save, pooling):
    source = AdaptiveForSequenceClassification.from_backbone(
        tiny_hugging_face(),
        head_depths=[1],
        head_pooling=pooling,
        id2label={0: "bad", 1: "fair", 2: "good"},
        pruner={"name": "l2_norm", "depths": [1], "ratio": 0.3},
        seed=0,
    )
    folder = save(source, "run/model").parent
    source.set_pruner(name="none")
    ours = build(folder, head_depths=[2], head_pooling="cls", exit={"name": "never"})
    assert torch.equal(answers(ours), answers(source))
    assert ours.head_depths == (2, 3)
    assert ours.config.head_pooling(3) == pooling


def test_it_is_saved_and_loaded_with_both_poolings(save, tmp_path):
    ours = build(save(named(tiny_hugging_face(), "bad", "fair", "good")), exit={"name": "confidence", "threshold": 0.4})
    ours.save_pretrained(tmp_path / "saved")
    again = AdaptiveForSequenceClassification.from_pretrained(tmp_path / "saved")
    assert torch.equal(answers(again), answers(ours))
    assert again.config.heads == {"depths": [1, 2, 3], "pooling": "mean", "final_pooling": "cls"}


def test_classes_are_put_into_the_tasks_order_under_their_own_names(save):
    theirs = named(tiny_hugging_face(), "GOOD", "BAD", "FAIR")
    ours = build(save(theirs))
    assert ours.config.id2label == {0: "BAD", 1: "FAIR", 2: "GOOD"}
    torch.testing.assert_close(answers(ours), answers(theirs)[:, [1, 2, 0]], rtol=0, atol=1e-5)


def test_classes_without_names_are_in_order_unless_the_user_says_otherwise(save, caplog):
    theirs = named(tiny_hugging_face(), "LABEL_0", "LABEL_1", "LABEL_2")
    folder = save(theirs)
    ours = build(folder)
    assert "does not name its classes" in caplog.text
    assert ours.config.id2label == {0: "bad", 1: "fair", 2: "good"}
    torch.testing.assert_close(answers(ours), answers(theirs), rtol=0, atol=1e-5)
    mapped = build(folder, labels=["good", "bad", "fair"])
    assert mapped.config.id2label == ours.config.id2label
    torch.testing.assert_close(answers(mapped), answers(theirs)[:, [1, 2, 0]], rtol=0, atol=1e-5)


def test_a_score_needs_no_names(save):
    task = dataclasses.replace(TASK, kind="regression", label_names=(), num_labels=1)
    theirs = tiny_hugging_face(num_labels=1)
    torch.testing.assert_close(answers(build(save(theirs), task)), answers(theirs), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (("bad", "good"), {}, r"retrofit: expected 3 outputs, as task made_up has, .* has 2"),
        (("a", "b", "c"), {}, r"retrofit: expected the classes .*'fair'.* has \['a', 'b', 'c'\]; .*backbone.labels"),
        (("a", "b", "c"), {"labels": ["bad", "bad", "good"]}, r"backbone.labels: expected each of .* once, got"),
        (("bad", "fair", "good"), {"head_depths": []}, r"head_depths: expected 'all' or depths below the last \(3\)"),
        (("bad", "fair", "good"), {"head_depths": None}, r"head_depths: expected 'all'"),
        (("bad", "fair", "good"), {"head_depths": [3]}, r"head_depths: expected 'all'"),
        (("bad", "fair", "good"), {"head_depths": [4]}, r"head_depths: expected depths between 1 and 3, got 4"),
        (("bad", "fair", "good"), {"head_pooling": "max"}, r"head_pooling: expected one of"),
    ],
)
def test_what_does_not_fit_is_named(save, names, options, message):
    folder = save(named(tiny_hugging_face(num_labels=len(names)), *names))
    with pytest.raises(ValueError, match=message):
        build(folder, **options)


def test_what_is_no_classifier_is_refused(save, tmp_path, tokenizer):
    encoder = save(AutoModel.from_config(tiny_hugging_face().config), "encoder")
    with pytest.raises(ValueError, match=r"retrofit: expected a fine-tuned classifier, .* no weights for classifier"):
        build(encoder)
    small = GPT2Config(vocab_size=48, n_embd=16, n_layer=1, n_head=2, n_positions=40)
    with pytest.raises(ValueError, match=r"retrofit: expected a classifier of type .*'bert'.* of type 'gpt2'"):
        build(save(GPT2ForSequenceClassification(small), "gpt2"))
    with pytest.raises(ValueError, match=r"retrofit: expected the folder or hub name .* got '.*/nothing'"):
        build(tmp_path / "nothing")
    (encoder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"retrofit: .* has a config.json but no weights"):
        build(encoder)
    with pytest.raises(ValueError, match=r"retrofit: expected the folder or hub name .* got nothing"):
        backbone_for("").tokenizer(list, tmp_path)


def test_tokenizer_and_length_must_fit(save, tmp_path, tokenizer):
    theirs = named(tiny_hugging_face(), "bad", "fair", "good")
    theirs.save_pretrained(tmp_path / "alone")
    with pytest.raises(ValueError, match=r"retrofit: no tokenizer in .*/alone that can be read .*; save it there"):
        build(tmp_path / "alone")
    folder = save(theirs)
    long = backbone_for(folder, max_length=41)
    options = {"attention": {"name": "full"}, "pruner": {"name": "none"}, "exit": {"name": "never"}}
    options |= {"head_depths": "all", "head_pooling": "mean", "seed": 0}
    with pytest.raises(ValueError, match=r"data.max_length: expected at most 40 tokens, .* got 41"):
        long.build(tokenizer, THREE, **options)
    words = [f"w{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]
    make_tiny_backbone(vocab_size=90).tokenizer(lambda: words * 3, tmp_path / "large").save_pretrained(folder)
    with pytest.raises(ValueError, match=r"retrofit: .* has a tokenizer of \d+ tokens and a model of 48"):
        build(folder)


def test_it_trains_heads_alone():
    assert backbone_for("folder").module is HeadsModule


def test_a_narrow_encoder_stays_narrow(save):
    whole = tiny_adaptive(head_depths=[])
    whole.keep_in_blocks([[1]] * 3, [list(range(8))] * 3)
    model = build(save(whole))
    assert model.config.backbone["block_heads"] == [1] * 3 and model.config.backbone["block_inner"] == [8] * 3
    torch.testing.assert_close(answers(model), answers(whole))
    assert model.num_parameters() < build(save(tiny_adaptive(head_depths=[]), "whole")).num_parameters()


def test_binary_weights_are_stored_by_their_bits_again(save, tmp_path):
    binary, compression = tiny_adaptive(head_depths=[]), make_compression("binarized", embeddings=True)
    compression.attach(binary)
    compression.finish(binary)
    module = HeadsModule(
        build(save(binary)),
        make_objective("joint"),
        optimizer=make_adamw(1e-2),
        scheduler=make_scheduler,
        schedule=PruningSchedule(0.0, 0.0),
        metrics=MetricCollection({"accuracy": MulticlassAccuracy(3)}),
        best="accuracy",
        seed=0,
    )
    module.model.train()
    finished = module.finished_model()
    finished.eval().save_pretrained(tmp_path / "again")
    again = AdaptiveForSequenceClassification.from_pretrained(tmp_path / "again")
    assert again.config.weights == binary.config.weights
    torch.testing.assert_close(answers(again), answers(binary))
    names = load_file(tmp_path / "again" / "model.safetensors").keys()
    assert "encoder.blocks.0.qkv.weight.signs" in names and "encoder.blocks.0.qkv.weight" not in names


def test_parts_that_the_classifier_was_trained_with_are_named(tmp_path, caplog):
    caplog.set_level("INFO")
    make_model(torch.float32).save_pretrained(tmp_path / "pruned")
    make_model(torch.float32, pruner={"name": "none"}).save_pretrained(tmp_path / "plain")
    load_classifier(str(tmp_path / "plain"))
    assert "was trained with" not in caplog.text
    load_classifier(str(tmp_path / "pruned"))
    (line,) = [message for message in caplog.messages if "was trained with" in message]
    assert line.endswith("pruned was trained with pruner=l2_norm, which is only taken over if typed")
