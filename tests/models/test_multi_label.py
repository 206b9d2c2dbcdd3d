"""Models of which each output is a label of its own: as Hugging Face's, with exits where every label is sure."""

import pytest
import torch
import torch.nn.functional as F
from transformers import BertForSequenceClassification, pipeline

from eat.data.tokenizer import train_tokenizer
from eat.explanation import explain
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.config import MULTI_LABEL
from eat.monitoring import RiskMonitor
from eat.traces.profile import measure
from tests.made.models import make_model
from tests.reference.tiny import batch_of, tiny_hugging_face

SURE = {"name": "confidence", "threshold": 0.55}


def make(**options):
    return make_model(torch.float32, num_labels=3, problem_type=MULTI_LABEL, **{"exit": SURE} | options)


def test_the_loss_and_the_answers_are_those_of_hugging_face():
    theirs = tiny_hugging_face(num_labels=3)
    theirs.config.problem_type = MULTI_LABEL
    ours = AdaptiveForSequenceClassification.from_backbone(theirs)
    assert ours.config.problem_type == MULTI_LABEL
    assert AdaptiveForSequenceClassification.from_backbone(theirs, num_labels=3).config.problem_type == MULTI_LABEL
    ids, mask, types = batch_of([3, 9, 5], "right", seed=0, pad=0)
    labels = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1]]).float()
    expected = theirs(ids, mask, types, labels=labels)
    got = ours(ids, mask, types, labels=labels)
    torch.testing.assert_close(got.logits, expected.logits)
    torch.testing.assert_close(got.loss, expected.loss)
    back = ours.to_hugging_face()
    assert isinstance(back, BertForSequenceClassification) and back.config.problem_type == MULTI_LABEL
    torch.testing.assert_close(back(ids, mask, types, labels=labels).loss, expected.loss)


def test_a_text_exits_where_its_least_sure_label_is_sure_enough():
    model = make()
    ids, mask, types = batch_of([3, 9, 5, 7, 4, 11, 6, 8], "right", seed=1, pad=0)
    with torch.no_grad():
        traced = model(ids, mask, types, trace=True).all_logits
        least = torch.maximum(traced.sigmoid(), 1 - traced.sigmoid()).amin(-1)
        middle = float(least[:, :-1].amax(1).median())
        model.set_exit(name="confidence", threshold=middle)
        output = model(ids, mask, types)
    depths = [
        next((depth for depth, sure in zip(model.head_depths, row, strict=True) if sure >= middle), model.num_layers)
        for row in least.tolist()
    ]
    assert output.exit_depth.tolist() == depths and len(set(depths)) > 1


def test_training_learns_every_head_by_the_labels_of_each():
    model = make(exit={"name": "never"}, head_depths="all").train()
    ids, mask, types = batch_of([3, 9, 5], "right", seed=0, pad=0)
    labels = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1]])
    output = model(ids, mask, types, labels=labels)
    weights = [0.3] * (len(model.head_depths) - 1) + [1.0]
    expected = sum(
        weight * F.binary_cross_entropy_with_logits(output.all_logits[:, head], labels.float())
        for head, weight in enumerate(weights)
    )
    torch.testing.assert_close(output.loss, expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1]), r"labels: expected 0 or 1 for each label, of shape \(2, 3\), got shape \(2,\)"),
        (torch.tensor([[0.0, 0.5, 1.0], [0.0, 0.0, 0.0]]), r"labels: expected 0 or 1, got 0.5"),
        (None, ""),
    ],
)
def test_labels_of_another_kind_are_refused(labels, message):
    ids, mask, types = batch_of([3, 9], "right", seed=0, pad=0)
    if labels is not None:
        with pytest.raises(ValueError, match=message):
            make()(ids, mask, types, labels=labels)
        return
    with pytest.raises(ValueError, match=r"labels: expected one per example, .* got shape \(2, 3\)"):
        make_model(torch.float32, num_labels=3)(ids, mask, types, labels=torch.zeros(2, 3))


def test_a_pipeline_gives_each_label_its_own_probability():
    tokenizer = train_tokenizer(["good bad soup film the was very not"] * 4, 40)
    model = make(id2label={0: "good", 1: "bad", 2: "soup"})
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer)
    texts = ["the soup was good", "not very"]
    for text, answer in zip(texts, classify(texts, top_k=None), strict=True):
        with torch.no_grad():
            logits = model(**tokenizer(text, return_tensors="pt")).logits[0]
        found = {each["label"]: each["score"] for each in answer}
        assert found == pytest.approx(
            dict(zip(("good", "bad", "soup"), logits.sigmoid().tolist(), strict=True)), abs=1e-6
        )


def test_what_a_guard_and_a_monitor_see_is_the_least_sure_label_and_the_set():
    model = make(exit={"name": "confidence", "threshold": 0.5})
    batch = batch_of([3, 9, 5, 7, 4, 11, 6, 8], "right", seed=1, pad=0)
    with torch.no_grad():
        output, full = model(*batch), model(*batch, trace=True).logits
    arrays = (each.numpy() for each in (output.logits, output.exit_depth, output.tokens_kept))
    confidence = measure(*arrays, multi_label=True)[1]
    p = output.logits.sigmoid()
    assert confidence.tolist() == pytest.approx(torch.maximum(p, 1 - p).amin(-1).tolist())
    monitor = RiskMonitor(model, audit=1.0, bound=0.5)
    monitor(*batch)
    differ = int(((output.logits > 0) != (full > 0)).any(-1).sum())
    assert monitor.report()["losses"] == differ > 0


def test_an_explanation_names_every_label_that_applies():
    tokenizer = train_tokenizer(["good bad soup film the was very not"] * 4, 40)
    model = make(id2label={0: "good", 1: "bad", 2: "soup"})
    with torch.no_grad():
        output = model(**tokenizer("the soup was good", return_tensors="pt"))
    p = dict(zip(("good", "bad", "soup"), output.logits[0].sigmoid().tolist(), strict=True))
    found = explain(model, tokenizer, "the soup was good")
    named = [name for name in sorted(p, key=p.get, reverse=True) if p[name] > 0.5]
    assert found.label == (", ".join(named) or "no label")
    assert found.confidence == pytest.approx(min(max(each, 1 - each) for each in p.values()), abs=1e-6)
    head = next(head for head in found.heads if head.depth == int(output.exit_depth))
    assert dict(head.probabilities) == pytest.approx(p, abs=1e-6)
    assert found.label in str(found) and found.to_html().startswith("<!")
