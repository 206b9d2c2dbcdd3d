"""Each check passes what keeps the promises, and fails what breaks one: it names the fact and the seed."""

import dataclasses
import re

import pytest
import torch

from eat.exits import EXITS
from eat.exits.confidence import ConfidenceExit
from eat.pruners import PRUNERS
from eat.testing import (
    CheckFailedError,
    check_attention,
    check_backbone,
    check_compression,
    check_engine,
    check_exit,
    check_objective,
    check_pruner,
    check_task,
)
from tests.testing import wrong

PRUNED = {"keep": 0.3, "start": 0.0, "end": 0.5}
SMALL = {"train_rows": 300, "validation_rows": 60}
FAILING = [
    (check_pruner, wrong.LooksAtTheBatch, "a sequence alone keeps the tokens that it keeps in its batch"),
    (check_pruner, wrong.ByPosition, "a sequence alone keeps the tokens that it keeps in its batch"),
    (check_pruner, wrong.DropsProtected, "protected tokens stay: expected True on all of them"),
    (check_pruner, wrong.DropsSeparators, "protected tokens stay"),
    (check_pruner, wrong.Miscounts, "as many tokens stay as lengths_after says"),
    (check_pruner, wrong.DrawsAnew, "a sequence alone keeps|it remembers nothing"),
    (check_pruner, wrong.RemembersLength, "a sequence alone keeps|it remembers nothing"),
    (check_pruner, wrong.WritesRows, "it only reads the rows"),
    (check_pruner, wrong.ReadsUnasked, "attention received is read only where needs"),
    (check_pruner, wrong.IgnoresScale, "at scale 0 all tokens stay"),
    (check_pruner, wrong.GivesIndices, "it marks tokens: expected torch.bool of shape .* got torch.int64"),
    (
        check_pruner,
        wrong.Unchecked,
        "pruner.depths='nonsense' is refused in one line .* expected a ValueError, got no err",
    ),
    (
        check_pruner,
        wrong.CallsItPruning,
        r"it has what eat.pruners.Pruner asks for: expected all of it, got no \['scale'",
    ),
    (check_exit, wrong.ByNeighbours, "an example alone exits as in its batch"),
    (check_exit, wrong.SureWhenBroken, "an example whose last logits hold NaN never exits"),
    (check_exit, wrong.NeverThoughActive, "let an example exit where `active` is True"),
    (check_exit, wrong.LetsGoThoughInactive, "let an example exit where `active`"),
    (check_exit, wrong.KeepsCount, "let an example exit|remembers nothing|hold NaN"),
    (check_exit, wrong.Sharpens, "hold NaN|it only reads the logits"),
    (check_exit, wrong.ReadsBoth, "needs_classes and needs_score exclude each other"),
    (check_exit, wrong.OneThreshold, "a threshold per class is that of the predicted class"),
    (check_exit, wrong.NoVeto, "a veto keeps those of a low margin"),
    (check_attention, wrong.SeesTheBatch, "a sequence attends alone as in its batch"),
    (check_attention, wrong.NoReceived, "attention received is given on demand"),
    (check_attention, wrong.DoubleReceived, "every query gives away an attention of 1"),
    (check_attention, wrong.Free, "each token costs a pair at least"),
    (check_attention, wrong.NoGlobal, r"\[CLS\] attends to all"),
    (check_objective, wrong.Broadcasts, "labels of shape|a batch said twice"),
    (check_objective, wrong.Sums, "a batch said twice has the same loss"),
    (check_objective, wrong.LosesAPart, "the loss is the sum of its parts"),
    (
        check_objective,
        wrong.LastHeadOnly,
        r"teaches the heads of its phase.*expected \[True, True, True\], got \[False",
    ),
    (check_objective, wrong.Overflows, "the loss is finite, for huge logits too"),
    (check_objective, wrong.ByTheClock, "a step alone says what it trains"),
    (check_objective, wrong.ForeignHeads, "a phase names some of the heads"),
    (check_objective, wrong.NeedsNoClassesItSays, "teaches the heads of its phase"),
    (check_task, (wrong.OtherRows, SMALL), "it loads alike"),
    (check_task, (wrong.TrainsOnReported, SMALL), "no row of the reported splits stands in train"),
    (check_task, (wrong.ThreeClasses, SMALL), "a name and an output for each class"),
    (check_task, (wrong.OneClassTooFew, SMALL), "labels are in range"),
    (check_task, (wrong.UnknownMetric, SMALL), "metrics are known"),
    (check_task, (wrong.NumbersForText, SMALL), "text columns are called as everywhere"),
    (check_task, (wrong.TrainOnly, SMALL), "train is loaded, and a reported split"),
    (check_task, (wrong.Repeats, SMALL), "held-out texts are nowhere else"),
    (check_compression, (wrong.StaysAttached, PRUNED), "nothing of it is left in a finished model"),
    (check_compression, (wrong.FinishesElsewhere, PRUNED), "answers as validations of the last steps saw it"),
    (check_compression, (wrong.RemembersTheLeast, PRUNED), "a step sets the same whatever came before it"),
    (check_compression, (wrong.NeverEnds, PRUNED), "it ends with the training at the latest"),
    (check_engine, wrong.OffByALittle("a"), "it answers as the model with everything off"),
    (check_engine, wrong.OffWhenLoaded("a"), "it answers as the model with everything off"),
    (check_engine, wrong.NamesAnother("a"), "what is saved names the engine"),
]


@pytest.mark.parametrize(
    ("check", "part", "fact"),
    [
        pytest.param(*case, id=f"{getattr(case[1], '__name__', type(case[1]).__name__)}-{i}")
        for i, case in enumerate(FAILING)
    ],
)
def test_a_part_that_breaks_a_promise_fails(check, part, fact):
    arguments = part if isinstance(part, tuple) else (part,)
    with pytest.raises(CheckFailedError, match=fact) as caught:
        check(*arguments)
    said = str(caught.value)
    assert "\n" not in said and said.startswith(f"{check.__name__}(") and "expected" in said and "got" in said


def test_the_seed_in_a_message_repeats_it_alone():
    with pytest.raises(CheckFailedError) as caught:
        check_pruner(wrong.LooksAtTheBatch)
    seed = int(re.search(r"seed=(\d+)", str(caught.value))[1])
    with pytest.raises(CheckFailedError) as again:
        check_pruner(wrong.LooksAtTheBatch, seed=seed, trials=1)
    assert str(again.value) == str(caught.value)


@pytest.mark.parametrize(
    ("wrong_backbone", "fact"),
    [
        (wrong.Shifted, "hidden states are Hugging Face's, wherever padding stands"),
        (wrong.KeyForQuery, "embeddings and blocks have these weights"),
        (wrong.Relu, "its shape goes to Hugging Face and back|hidden states are Hugging Face's"),
    ],
)
def test_a_wrong_backbone_fails(wrong_backbone, fact, monkeypatch):
    from eat.backbones import BACKBONES

    monkeypatch.setitem(BACKBONES._own, "bert", wrong_backbone)
    with pytest.raises(CheckFailedError, match=fact):
        check_backbone(wrong_backbone, trials=4)


@pytest.mark.parametrize(
    "pruner",
    [
        wrong.FirstTokens,
        lambda: wrong.FirstTokens(depths=[2]),
        wrong.FirstTokens(depths=(1, 2), ratio=0.5),
    ],
    ids=["class", "function", "instance"],
)
def test_a_part_is_given_as_is_handiest(pruner):
    checked = check_pruner(pruner, trials=4)
    assert checked.subject == "check_pruner(first_tokens)" and not checked.left_out
    assert "config.pruner is saved as it was" in checked.facts
    assert "first_tokens" not in PRUNERS, "it was lent for the check alone"


def test_arguments_go_to_the_class():
    fact = "pruner.ratio=0.99 is refused in one line that names the argument"
    with pytest.raises(CheckFailedError, match=f"{fact}: expected a ValueError, got no error"):
        check_pruner(wrong.FirstTokens, {"depths": [1], "ratio": 0.4}, refused={"ratio": [0.99]}, trials=1)
    assert (
        "pruner.ratio=1.5 is refused in one line that names the argument"
        in check_pruner({"name": "l2_norm", "depths": [1]}, refused={"ratio": [1.5]}, trials=1).facts
    )


def test_near_ties_are_counted():
    """A threshold that stands at a score: float32 may decide either way, and float64 may not."""

    @dataclasses.dataclass(eq=False)
    class Coarse(ConfidenceExit):
        """Scores in steps that the threshold stands on."""

        def measure(self, history):
            return torch.round(super().measure(history), decimals=1)

    checked = check_exit(Coarse, {"threshold": 0.5}, trials=8)
    assert 0 < checked.near_ties <= checked.examples
    assert "coarse" not in EXITS


def test_an_error_inside_a_part_names_the_seed():
    class Stumbles(wrong.FirstTokens):
        def scores(self, state, depth):
            return state.rows[:, 99]

    with pytest.raises(IndexError) as caught:
        check_pruner(Stumbles)
    assert caught.value.__notes__ == ["check_pruner(stumbles) failed with seed=0; repeat with seed=0, trials=1"]
