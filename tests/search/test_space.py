"""The space of a search is read as it was typed, or refused by its key."""

import pytest

from eat.search.space import Choices, Range, read_space, typed

KNOWN = ("pruner.ratio", "pruner.depths", "optimizer.lr", "budget.epochs", "data.batch_size", "objective")
KNOWN += ("objective.teacher", "seed", "data.threshold_examples", "data.train", "backbone.num_layers", "exit.threshold")
RATIO = {"low": 0.1, "high": 0.5, "step": 0.1}


class Recorded:
    """What Optuna would be asked, answered with fixed values."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def suggest_float(self, *arguments, **options):
        self.asked.append((arguments, options))
        return self.answer

    suggest_int = suggest_categorical = suggest_float


def read(values, counts_flops=True):
    return read_space(values, KNOWN, counts_flops=counts_flops)


def test_keys_with_dots_and_mappings_in_mappings_are_the_same():
    expected = {"pruner.ratio": Range("pruner.ratio", 0.1, 0.5, 0.1), "objective": Choices("objective", ("a", "b"))}
    objective = {"choices": ["a", "b"]}
    assert read({"pruner": {"ratio": RATIO}, "objective": objective}) == expected
    assert read({"pruner.ratio": RATIO, "objective": objective}) == expected


def test_choices_are_written_as_they_are_typed():
    (depths,) = read({"pruner.depths": {"choices": [[2, 4], [1], None, True, 1e-5, "all", "a b"]}}).values()
    assert depths.ends == ("[2,4]", "[1]", "null", "true", "1e-05", "all", "'a b'")
    assert depths.holds([2, 4]) and depths.holds(None) and not depths.holds([4, 2])


@pytest.mark.parametrize(
    ("spec", "held", "not_held"),
    [
        (RATIO, (0.1, 0.3, 0.5), (0.25, 0.6, True, None, "0.3")),
        ({"low": 2, "high": 5}, (2, 5), (1, 6, 2.5, 2.0)),
        ({"low": 1e-5, "high": 1e-3, "log": True}, (1e-5, 2e-4), (0, 1e-2)),
    ],
)
def test_a_range_holds_what_it_can_try(spec, held, not_held):
    parameter = Range("optimizer.lr", **spec)
    assert all(map(parameter.holds, held))
    assert not any(map(parameter.holds, not_held))


def test_numbers_are_short_and_stay_within_the_bounds():
    assert Range("optimizer.lr", 1e-5, 1e-3, log=True).suggest(Recorded(0.000123456789)) == "0.0001235"
    assert Range("optimizer.lr", 0.12344, 1.0).suggest(Recorded(0.12344)) == "0.12344"
    assert Range("pruner.ratio", **RATIO).suggest(Recorded(0.30000000000000004)) == "0.3"
    whole = Recorded(3)
    assert Range("budget.epochs", 2, 5).suggest(whole) == "3"
    assert whole.asked == [(("budget.epochs", 2, 5), {"step": 1, "log": False})]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"search.space: expected at least one key to vary"),
        (3, r"search.space: expected low and high, or choices, got 3"),
        ({"pruner.ratio": 0.3}, r"search.space.pruner.ratio: expected low and high, or choices, got 0.3"),
        ({"pruner.ration": RATIO}, r"search.space.pruner.ration: .*did you mean 'pruner.ratio'"),
        ({"pruner.ratio": RATIO, "pruner": {"ratio": RATIO}}, r"pruner.ratio: expected each key once, got it twice"),
        ({"pruner.ratio": RATIO | {"choices": [1, 2]}}, r"pruner.ratio: expected low and high .*, got high as well"),
        ({"pruner.ratio": RATIO | {"hihg": 1}}, r"got hihg as well \(did you mean 'high'\?\)"),
        ({"pruner.ratio": {"low": 0.1}}, r"search.space.pruner.ratio.high: expected a number, got None"),
        ({"pruner.ratio": {"low": "a", "high": 1}}, r"search.space.pruner.ratio.low: expected a number, got 'a'"),
        ({"pruner.ratio": {"low": 0.5, "high": 0.5}}, r"expected low below high, got 0.5 and 0.5"),
        ({"pruner.ratio": {"low": 0.1, "high": 0.5, "step": 0.3}}, r"step: expected steps that lead from 0.1 to 0.5"),
        ({"pruner.ratio": {"low": 0.1, "high": 0.5, "step": 0}}, r"step: expected a number above 0, got 0"),
        ({"pruner.ratio": RATIO | {"log": True}}, r"expected a step or log: true, got both"),
        ({"pruner.ratio": RATIO | {"log": 1}}, r"pruner.ratio.log: expected true or false, got 1"),
        ({"optimizer.lr": {"low": 0, "high": 1, "log": True}}, r"lr.low: expected a number above 0, got 0"),
        ({"pruner.depths": {"choices": [[2]]}}, r"pruner.depths.choices: expected two values or more"),
        ({"pruner.depths": {"choices": [[2], [2]]}}, r"expected two values or more, each once"),
        (
            {"pruner.depths": {"choices": 3}},
            r"pruner.depths.choices: expected a list, such as \[\[2,4\],\[1,3\]\], got 3",
        ),
        ({"pruner.depths": {"choices": [{"a": 1}, 2]}}, r"expected numbers, words or lists, got {'a': 1}"),
        ({"exit.threshold": RATIO}, r"exit.threshold does not; thresholds of the exit are replayed"),
        ({"seed": {"low": 0, "high": 3}}, r"seed: expected the same held-out examples in all trials"),
        ({"data.threshold_examples": {"low": 1, "high": 3}}, r"expected the same held-out examples"),
        ({"data.train": {"choices": ["a.csv", "b.csv"]}}, r"expected the same held-out examples"),
        ({"backbone.num_layers": {"low": 3, "high": 6}}, r"expected the same dense encoder .*optimize=\[quality\]"),
        (
            {"objective": {"choices": ["joint", "distill"]}, "objective.teacher": {"choices": ["a", "b"]}},
            r"search.space.objective.teacher: expected it without objective",
        ),
    ],
)
def test_what_is_wrong_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        read(values)


def test_quality_alone_is_compared_between_encoders():
    assert read({"backbone.num_layers": {"low": 3, "high": 6}, "data.batch_size": {"choices": [8, 16]}}, False)


def test_a_text_that_looks_like_a_number_is_quoted():
    assert [typed(value) for value in ("3", "null", 0.5, [None, "a"])] == ["'3'", "'null'", "0.5", "[null,a]"]
