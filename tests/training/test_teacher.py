"""A teacher answers packed batches, and one that does not fit is refused."""

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, BertTokenizer

from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.rules import SufficientRule
from eat.training.objectives import build_objective
from eat.training.teacher import Teacher
from tests.training.made import read_conf

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "not", "very"]
LABELS = ("negative", "positive")


def make_tokenizer(words=WORDS):
    return BertTokenizer(vocab={word: index for index, word in enumerate(words)})


def make_batch():
    return {
        "input_ids": torch.tensor([2, 5, 7, 3, 2, 6, 3, 2, 8, 9, 5, 3]),
        "token_type_ids": torch.zeros(12, dtype=torch.int64),
        "lengths": torch.tensor([4, 3, 5]),
    }


def make_classifier(folder, id2label=None, model_type="bert", **shape):
    """Write a random Hugging Face classifier with its tokenizer, as a user's fine-tuned teacher comes."""
    config = tiny_config(model_type, vocab_size=len(WORDS), dim=16, num_layers=2, **shape)
    config.id2label = id2label or dict(enumerate(LABELS))
    config.label2id = {name: index for index, name in config.id2label.items()}
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def load(folder, label_names=LABELS, tokenizer=None, max_length=32):
    tokenizer = tokenizer or make_tokenizer()
    return Teacher.from_folder(folder, tokenizer=tokenizer, label_names=label_names, max_length=max_length)


@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
def test_a_teacher_answers_packed_batches_as_padded_ones(tmp_path, model_type):
    teacher, batch = load(make_classifier(tmp_path, model_type=model_type)), make_batch()
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        alone = [model(ids.unsqueeze(0)).logits[0] for ids in batch["input_ids"].split([4, 3, 5])]
    torch.testing.assert_close(teacher(batch), torch.stack(alone), atol=1e-5, rtol=1e-5)
    assert not teacher(batch).requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("classifier.weight"), "no weights for classifier.weight"),
        (lambda weights: weights["classifier.weight"].fill_(torch.nan), "NaN or infinity in 'classifier.weight'"),
    ],
    ids=["missing", "nan"],
)
def test_a_teacher_with_weights_that_are_missing_or_no_numbers_is_refused(tmp_path, change, message):
    """Transformers would make them random, and the student would learn from that."""
    weights = load_file(make_classifier(tmp_path) / "model.safetensors")
    change(weights)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"objective\.teacher: .*{message}"):
        load(tmp_path)


def test_a_run_of_ours_teaches_at_full_depth(tmp_path):
    model = AdaptiveForSequenceClassification.from_backbone(
        tiny_config(vocab_size=len(WORDS), dim=16, num_layers=2),
        id2label=dict(enumerate(LABELS)),
        exit={"name": "confidence", "threshold": 0.0},
        head_depths=[1],
        seed=0,
    )
    model.save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    batch = make_batch()
    with torch.no_grad():
        traced = model(batch["input_ids"], lengths=batch["lengths"], trace=True)
    torch.testing.assert_close(load(tmp_path)(batch), traced.all_logits[:, -1])
    model.set_exit(name="never")
    model.set_rules([SufficientRule(0, "embeddings", "mean", 1, (0.0,) * 16, -1.0, 0.01, 0.02)])
    model.save_pretrained(tmp_path / "model")
    assert not torch.allclose(model(batch["input_ids"], lengths=batch["lengths"]).logits, traced.all_logits[:, -1])
    torch.testing.assert_close(load(tmp_path)(batch), traced.all_logits[:, -1])


def test_classes_in_another_order_are_put_right(tmp_path):
    teacher = load(make_classifier(tmp_path, id2label={0: "Positive", 1: "Negative"}))
    unordered = Teacher(teacher.model)
    torch.testing.assert_close(teacher(make_batch()), unordered(make_batch()).flip(1))


def test_unnamed_classes_are_taken_in_order_with_a_warning(tmp_path, caplog):
    folder = make_classifier(tmp_path, id2label={0: "LABEL_0", 1: "LABEL_1"})
    with caplog.at_level(logging.WARNING):
        assert load(folder).order is None
    assert "does not name its classes" in caplog.text


def test_a_teacher_that_does_not_fit_is_refused(tmp_path):
    folder = make_classifier(tmp_path / "teacher", max_length=32)
    with pytest.raises(ValueError, match="which has neither"):
        load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"another vocabulary \(10 tokens\) than the student \(11 tokens\)"):
        load(folder, tokenizer=make_tokenizer([*WORDS, "more"]))
    with pytest.raises(ValueError, match="expected 3 outputs, as the task has"):
        load(folder, label_names=("a", "b", "c"))
    with pytest.raises(ValueError, match=r"expected the classes \['no', 'yes'\]"):
        load(folder, label_names=("no", "yes"))
    with pytest.raises(ValueError, match=r"reads at most 32 tokens, .* set backbone.max_length=32"):
        load(folder, max_length=33)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"no tokenizer in|another vocabulary"):
        load(folder)


def test_an_objective_is_built_with_its_teacher(tmp_path):
    folder = make_classifier(tmp_path)
    spec = read_conf("objective/joint") | {"teacher": str(folder)}
    objective = build_objective(spec, tokenizer=make_tokenizer(), label_names=LABELS, max_length=32)
    assert isinstance(objective.teacher, Teacher)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "bert"
