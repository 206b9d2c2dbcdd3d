"""Checks return the value or name it in one line."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest

from eat.checks import (
    MAX_SHOWN,
    closest,
    folder_name,
    number,
    one_of,
    plain,
    several,
    shown,
    some_of,
    true_or_false,
    whole_number,
    whole_numbers,
)


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


def test_a_shown_value_is_one_short_line():
    assert shown("a  b\n") == repr("a  b\n")
    assert shown(np.zeros((2, 2))) == "array([[0., 0.], [0., 0.]])"
    assert len(shown(["x"] * 999)) == MAX_SHOWN and shown(["x"] * 999).endswith(" ...")
    with pytest.raises(ValueError, match=r"^x: expected an integer") as caught:
        whole_number("x", "9" * 5000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [None, 3, 1.5, True, "ab", b"ab", {"a": 1}, {1}])
def test_what_is_no_list_is_refused(value):
    with pytest.raises(ValueError, match=r"^threads: expected a list, such as \[1,2\], got ") as caught:
        whole_numbers("threads", value)
    assert str(caught.value).endswith(f"got {value!r}")


def test_lists_come_back_whole():
    assert several("x", (1, "a"), "[1]") == [1, "a"] and several("x", [], "[1]") == []
    assert whole_numbers("x", (1, np.int64(2))) == [1, 2]
    assert some_of("x", ["b"], {"a": 1, "b": 2}) == ["b"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("b", "expected a list, such as [b], got 'b'"),
        (0.5, "expected a list, such as [first], got 0.5"),
        (["frist"], "expected some of ['first', 'b'], got 'frist' (did you mean 'first'?)"),
        ([None], "expected some of ['first', 'b'], got None"),
        ([["b"]], "expected some of ['first', 'b'], got ['b']"),
    ],
)
def test_a_list_of_other_words_is_refused(values, said):
    with pytest.raises(ValueError, match=r"^x: ") as caught:
        some_of("x", values, ["first", "b"])
    assert str(caught.value) == f"x: {said}"


def test_numbers_beyond_every_float_are_refused():
    with pytest.raises(ValueError, match=r"^x: expected a number of 0 or more, got 1000"):
        number("x", 10**400, at_least=0)


def test_other_kinds_of_numbers_are_written_as_json():
    values = plain(
        {"ratio": [Fraction(1, 4), Fraction(2)], "threshold": Fraction(1, 2), "seed": np.int64(3), "on": True}
    )
    assert json.loads(json.dumps(values)) == {"ratio": [0.25, 2.0], "threshold": 0.5, "seed": 3, "on": True}


@pytest.mark.parametrize("value", ["", " ", 3, None, "\0", "x" * 300, "x/" * 3000])
def test_what_no_folder_can_be_called_is_refused(value):
    with pytest.raises(ValueError, match=r"^run: expected a (name that a )?folder"):
        folder_name("run", value)


def test_a_folder_need_not_be_there(tmp_path):
    assert folder_name("run", tmp_path / "none" / "x") == str(tmp_path / "none" / "x")
    (tmp_path / "file").touch()
    assert folder_name("run", tmp_path / "file" / "x")  # who opens it says what is wrong
