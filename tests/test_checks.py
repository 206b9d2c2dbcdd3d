"""Checks return the value or name it in one line."""

import json
import math

import numpy as np
import pytest

from eat.checks import closest, number, one_of, plain, true_or_false, whole_number


def test_what_fits_comes_back():
    assert whole_number("x", 3) == 3 and whole_number("x", 0, at_least=0) == 0
    value = number("x", 1, at_least=0, at_most=1)
    assert value == 1.0 and isinstance(value, float)
    assert number("x", -2.5) == -2.5
    assert one_of("x", "b", {"b": 1, "a": 2}) == "b"


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "1", None])
def test_whole_number_refuses(value):
    with pytest.raises(ValueError, match=f"^batch_size: expected an integer of 1 or more, got {value!r}$"):
        whole_number("batch_size", value)


@pytest.mark.parametrize(
    ("limits", "value", "expected"),
    [
        ({"at_least": 0, "at_most": 1}, 1.5, "a number in [0, 1]"),
        ({"at_least": 0, "below": 1}, 1, "a number in [0, 1)"),
        ({"above": 0, "below": 1}, 0, "a number in (0, 1)"),
        ({"above": 0}, 0.0, "a number above 0"),
        ({"below": 0}, 0.0, "a number below 0"),
        ({"at_least": 0}, -1, "a number of 0 or more"),
        ({"at_most": 0.5}, 1, "a number of 0.5 or less"),
        ({}, "1", "a number"),
        ({}, True, "a number"),
        ({"at_least": 0}, math.nan, "a number of 0 or more"),
        ({"at_least": 0}, math.inf, "a number of 0 or more"),
    ],
)
def test_number_refuses(limits, value, expected):
    with pytest.raises(ValueError, match=r"^x: expected") as caught:
        number("x", value, **limits)
    assert str(caught.value) == f"x: expected {expected}, got {value!r}"


def test_the_closest_known_word_is_named():
    with pytest.raises(
        ValueError, match=r"^x: expected one of \['margin', 'never'\], got 'nevr' \(did you mean 'never'"
    ):
        one_of("x", "nevr", ["never", "margin"])
    with pytest.raises(ValueError, match=r"got 3$"):
        one_of("x", 3, ["never"])
    assert closest("zzz", ["never"]) == ""


def test_numbers_of_numpy_are_numbers():
    assert whole_number("x", np.int64(3)) == 3 and type(whole_number("x", np.int64(3))) is int
    assert number("x", np.float32(0.5)) == 0.5 and number("x", np.int32(2)) == 2.0
    for value in (np.bool_(True), np.float64(3.0)):
        with pytest.raises(ValueError, match="x: expected an integer"):
            whole_number("x", value)
    with pytest.raises(ValueError, match="x: expected a number"):
        number("x", np.bool_(True))
    with pytest.raises(ValueError, match="x: expected true or false, got 1"):
        true_or_false("x", 1)


def test_options_are_plain_values():
    spec = plain(
        {"name": "a", "ratio": np.float32(0.5), "depths": np.array([1, 2]), "more": [np.int64(3), (np.float64(1),)]}
    )
    assert json.dumps(spec) == '{"name": "a", "ratio": 0.5, "depths": [1, 2], "more": [3, [1.0]]}'
