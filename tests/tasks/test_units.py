"""Units of rows that belong together, and the draw that takes them whole."""

from collections import Counter

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from eat.tasks.units import Unit, draw_units, group_units, normalise_text, pair_key, row_strata, row_texts


def test_texts_are_the_same_up_to_case_and_white_space() -> None:
    assert normalise_text(" The\tSAME \n text ") == normalise_text("the same text") == "the same text"


def test_a_pair_is_the_same_in_either_order() -> None:
    assert pair_key(["b", "a"]) == pair_key(["a", "b"]) != pair_key(["a", "c"])


def test_rows_and_strata_of_a_data_set() -> None:
    rows = Dataset.from_dict({"text": ["A b"], "text_pair": ["C"], "label": [3]})
    assert row_texts(rows) == [("a b", "c")]
    assert row_strata(rows) == [3]
    assert row_strata(Dataset.from_dict({"text": ["A", "B"], "label": [0.5, 1.0]})) == [None, None]


def test_rows_join_through_others() -> None:
    units = group_units([["a", "b"], ["c"], ["b", "d"], ["d", "e"], ["c"]], [0, 1, 0, 1, 0])
    assert units == [Unit("a", (0, 2, 3), 0), Unit("c", (1, 4), 1)]


def test_one_draw_does_not_depend_on_the_order_of_rows() -> None:
    units = [Unit(f"key {i}", (i,), i % 2) for i in range(50)]
    turned = [Unit(unit.key, (49 - unit.rows[0],), unit.stratum) for unit in reversed(units)]
    drawn, again = (sorted(unit.key for unit in draw_units(some, 10, salt="7")) for some in (units, turned))
    assert drawn == again
    assert drawn != sorted(unit.key for unit in draw_units(units, 10, salt="8"))


def test_classes_are_drawn_in_proportion() -> None:
    units = [Unit(f"{i}", (i,), "rare" if i % 10 == 0 else "often") for i in range(100)]
    assert Counter(unit.stratum for unit in draw_units(units, 30, salt="0")) == {"often": 27, "rare": 3}


def test_what_a_large_unit_leaves_open_is_filled_with_others() -> None:
    large = [Unit(f"large {i}", tuple(range(100 * i, 100 * i + 30)), "large") for i in range(2)]
    small = [Unit(f"small {i}", (1000 + i,), "small") for i in range(40)]
    drawn = draw_units([*large, *small], 20, salt="0")
    assert {unit.stratum for unit in drawn} == {"small"}
    assert sum(len(unit.rows) for unit in drawn) == 20


@given(
    sizes=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=30),
    share=st.floats(0, 1.5),
    salt=st.text(max_size=3),
)
def test_a_draw_is_whole_and_leaves_every_class_something(
    sizes: list[tuple[int, int]], share: float, salt: str
) -> None:
    units, first = [], 0
    for size, stratum in sizes:
        units.append(Unit(f"{first}", tuple(range(first, first + size)), stratum))
        first += size
    wanted = int(share * first)
    drawn = draw_units(units, wanted, salt=salt)
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(units)
    assert sum(len(unit.rows) for unit in drawn) <= wanted
    assert {unit.stratum for unit in set(units) - set(drawn)} == {unit.stratum for unit in units}


@pytest.mark.parametrize("num_rows", [0, 1, 7])
def test_single_rows_give_exactly_what_is_asked(num_rows: int) -> None:
    assert len(draw_units([Unit(f"{i}", (i,), i % 3) for i in range(20)], num_rows, salt="")) == num_rows
