"""Temperatures of a model's heads: what they do to answers and exits, and that they are saved."""

from pathlib import Path

import pytest
import torch

from eat.models.classifier import AdaptiveForSequenceClassification
from tests.made.models import make_batches, make_model

TEMPERATURES = [0.5, 3.0, 1.25, 0.8]


def answers(model: AdaptiveForSequenceClassification, **options: bool) -> torch.Tensor:
    batch = make_batches(32, 32)[0]
    output = model(input_ids=batch["input_ids"], lengths=batch["lengths"], **options)
    return output.all_logits if options else output.logits


def test_each_head_is_divided_by_its_own() -> None:
    model = make_model()
    raw = answers(model, trace=True)
    model.set_temperatures(TEMPERATURES)
    divided = answers(model, trace=True)
    assert torch.equal(divided, raw / torch.tensor(TEMPERATURES, dtype=torch.float64)[None, :, None])
    assert torch.equal(divided.argmax(-1), raw.argmax(-1))
    model.set_temperatures(None)
    assert torch.equal(answers(model, trace=True), raw) and model.temperatures == (1.0, 1.0, 1.0, 1.0)


def test_exits_see_the_divided_logits() -> None:
    model = make_model(exit={"name": "confidence", "threshold": 0.7})
    batch = make_batches(32, 32)[0]
    call = {"input_ids": batch["input_ids"], "lengths": batch["lengths"]}
    before = model(**call).exit_depth
    model.set_temperatures([50.0, 50.0, 50.0, 1.0])  # nobody is sure of anything any more
    assert model(**call).exit_depth.eq(4).all() and before.lt(4).any()


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = make_model(torch.float32)
    model.set_temperatures(TEMPERATURES)
    model.save_pretrained(tmp_path)
    loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path)
    assert loaded.temperatures == tuple(TEMPERATURES)
    assert torch.equal(answers(loaded, trace=True), answers(model, trace=True))


def test_the_plain_hugging_face_model_keeps_the_probabilities() -> None:
    model = make_model(torch.float32, pruner={"name": "none"}, exit={"name": "never"})
    model.set_temperatures(TEMPERATURES)
    batch = make_batches(1, 1)[0]
    plain = model.to_hugging_face()(input_ids=batch["input_ids"][None]).logits
    ours = model(input_ids=batch["input_ids"][None]).logits
    torch.testing.assert_close(plain, ours, rtol=1e-5, atol=1e-5)


def test_bad_temperatures_are_named_and_change_nothing() -> None:
    model = make_model()
    for wrong in ([1.0, 2.0], [1.0, 2.0, 3.0, 0.0], [1.0, 2.0, 3.0, float("nan")]):
        with pytest.raises(ValueError, match="temperatures: expected"):
            model.set_temperatures(wrong)
    assert model.temperatures == (1.0, 1.0, 1.0, 1.0)
    score = make_model(num_labels=1, problem_type="regression", exit={"name": "never"})
    with pytest.raises(ValueError, match=r"temperatures: need class probabilities.*regression"):
        score.set_temperatures(TEMPERATURES)
