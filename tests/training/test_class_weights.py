"""Class weights by name and balanced ones, which are scikit-learn's; what a regression refuses."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight
from transformers import BertTokenizer

from eat.training.checkpoints import load_best
from eat.training.objectives import build_objective, check_objective
from eat.training.objectives.class_weights import find_class_weights
from tests.training.made import make_objective, read_conf
from tests.training.small import fit

NAMES = ("ham", "spam", "unsure")


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.repeat([0, 1, 2], [60, 30, 7])
    counts = np.bincount(labels).tolist()
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert find_class_weights("balanced", NAMES, counts) == pytest.approx(expected.tolist())
    assert find_class_weights("balanced", NAMES, [30, 0, 10]) == pytest.approx([40 / 60, 1.0, 2.0])


def test_weights_by_name_stand_in_label_order_and_others_are_one():
    assert find_class_weights({"spam": 5, "ham": 0.5}, NAMES, [1, 1, 1]) == [0.5, 5.0, 1.0]
    assert find_class_weights({1: 3}, ("0", "1"), [1, 1]) == [1.0, 3.0]
    assert find_class_weights(None, NAMES, [1, 1, 1]) is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("balance", "objective.class_weights: expected null, balanced or weights by class name, .* got 'balance'"),
        ({}, "objective.class_weights: expected null, balanced"),
        ([1, 2], "objective.class_weights: expected null, balanced"),
        ({"spam": -1}, "objective.class_weights.spam: expected a number of 0 or more, got -1"),
        ({"spam": "x"}, "objective.class_weights.spam: expected a number"),
    ],
)
def test_another_form_is_refused_before_there_are_data(spec, message):
    with pytest.raises(ValueError, match=message):
        check_objective(read_conf("objective/joint") | {"class_weights": spec})


def build(**changes):
    names = changes.pop("names", NAMES)
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])}
    return build_objective(
        read_conf("objective/joint") | changes,
        tokenizer=BertTokenizer(vocab=words),
        label_names=names,
        max_length=8,
        label_counts=[6, 3, 1],
    )


def test_an_objective_is_built_with_them():
    assert build(class_weights="balanced").class_weights == pytest.approx([10 / 18, 10 / 9, 10 / 3])
    assert build(class_weights={"spam": 2}, focal_gamma=2.0).class_weights == [1.0, 2.0, 1.0]
    assert build().class_weights is None
    with pytest.raises(ValueError, match=r"expected some of the classes .* got 'spma' \(did you mean 'spam'\?\)"):
        build(class_weights={"spma": 2})


@pytest.mark.parametrize(
    ("name", "value"), [("class_weights", "balanced"), ("focal_gamma", 2), ("label_smoothing", 0.1)]
)
def test_a_regression_refuses_what_is_about_classes(name, value):
    with pytest.raises(ValueError, match=f"objective.{name}: expected (0|null) for a regression, which has no classes"):
        build(names=(), **{name: value})


def test_a_training_notes_the_weights_by_name(tmp_path):
    module, _, _ = fit(tmp_path, objective=make_objective("joint", class_weights=[0.5, 2.0]), max_epochs=1)
    outcome = load_best(module.trainer)
    assert list(outcome.class_weights.values()) == [0.5, 2.0]
    assert list(outcome.class_weights) == list(module.model.config.id2label.values())
