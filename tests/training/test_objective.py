"""The objective is the sum of its parts, and refuses a teacher that does not fit."""

import json
import logging
import math

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertTokenizer

from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.ops import losses
from eat.training.objective import JointObjective, build_objective
from eat.training.teacher import Teacher

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "not", "very"]
LABELS = ("negative", "positive")


def make_tokenizer(words=WORDS):
    return BertTokenizer(vocab={word: index for index, word in enumerate(words)})


def make_batch(classes=2):
    labels = torch.tensor([0, 1, 1]) if classes > 1 else torch.tensor([0.5, 1.0, 2.0])
    return {
        "input_ids": torch.tensor([2, 5, 7, 3, 2, 6, 3, 2, 8, 9, 5, 3]),
        "token_type_ids": torch.zeros(12, dtype=torch.int64),
        "lengths": torch.tensor([4, 3, 5]),
        "labels": labels,
        "example": torch.arange(3),
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


def test_alone_it_is_the_papers_first_equation():
    log_half, log_quarter = math.log(0.5), math.log(0.25)
    all_logits = torch.tensor([[[log_half, log_half], [log_quarter, math.log(0.75)]]])
    loss, parts = JointObjective()(all_logits, {"labels": torch.tensor([0])})
    assert loss.item() == pytest.approx(0.3 * math.log(2) + math.log(4), rel=1e-6)
    assert list(parts) == ["supervised"]


def test_the_parts_add_up():
    all_logits, taught, batch = torch.randn(3, 3, 2), torch.randn(3, 2), make_batch()
    objective = JointObjective(self_weight=0.7, teacher=lambda _: taught, teacher_weight=0.5, temperature=3.0)
    loss, parts = objective(all_logits, batch)
    torch.testing.assert_close(parts["self_distillation"], 0.7 * losses.self_distillation(all_logits, 3.0))
    torch.testing.assert_close(parts["distillation"], 0.5 * losses.distillation(all_logits[:, -1], taught, 3.0))
    torch.testing.assert_close(loss, parts["supervised"] + parts["self_distillation"] + parts["distillation"])


def test_regression_squares_errors():
    all_logits, batch = torch.zeros(3, 2, 1), make_batch(classes=1)
    objective = JointObjective(self_weight=1.0, teacher=lambda _: torch.ones(3, 1), teacher_weight=0.5)
    loss, parts = objective(all_logits, batch)
    squared = (0.25 + 1.0 + 4.0) / 3
    assert parts["supervised"].item() == pytest.approx(1.3 * squared)
    assert parts["distillation"].item() == pytest.approx(0.5)
    assert loss.item() == pytest.approx(1.3 * squared + 0.5)


@pytest.mark.parametrize(
    ("name", "value"), [("early_weight", -0.1), ("self_weight", float("nan")), ("temperature", 0.0)]
)
def test_bad_weights_are_named(name, value):
    with pytest.raises(ValueError, match=rf"objective\.{name}"):
        JointObjective(**{name: value})


@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
def test_a_teacher_answers_packed_batches_as_padded_ones(tmp_path, model_type):
    teacher, batch = load(make_classifier(tmp_path, model_type=model_type)), make_batch()
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        alone = [model(ids.unsqueeze(0)).logits[0] for ids in batch["input_ids"].split([4, 3, 5])]
    torch.testing.assert_close(teacher(batch), torch.stack(alone), atol=1e-5, rtol=1e-5)
    assert not teacher(batch).requires_grad


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
    with pytest.raises(ValueError, match="expected 3 outputs as the task has"):
        load(folder, label_names=("a", "b", "c"))
    with pytest.raises(ValueError, match=r"expected the classes \['no', 'yes'\]"):
        load(folder, label_names=("no", "yes"))
    with pytest.raises(ValueError, match=r"reads at most 32 tokens, .* set backbone.max_length=32"):
        load(folder, max_length=33)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"no tokenizer in|another vocabulary"):
        load(folder)


def test_it_is_built_from_plain_values(tmp_path):
    folder = make_classifier(tmp_path)
    objective = build_objective(tokenizer=make_tokenizer(), label_names=LABELS, max_length=32, teacher=str(folder))
    assert isinstance(objective.teacher, Teacher)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "bert"
