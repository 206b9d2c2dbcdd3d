"""The ELUE-style score, by cases worked by hand."""

import pytest

from eat.results.elue import elue_score

STATIC = [(0.5, 0.80), (1.0, 0.90)]


@pytest.mark.parametrize(
    ("front", "score"),
    [
        ([(0.5, 0.82), (1.0, 0.92)], 2.0),  # two points above everywhere
        (STATIC, 0.0),
        ([(0.5, 0.80), (1.0, 0.94)], 2.0),  # a triangle: nothing at one end, four points at the other
        ([(0.75, 0.88)], 3.0),  # one point: its height over 0.85
        ([(0.25, 0.70), (0.75, 0.90)], 2.5),  # within 0.5 to 0.75: 0 at 0.80, then 0.90 over 0.85
        ([(0.5, 0.80), (0.75, 0.89), (1.0, 0.90)], 2.0),  # a tent of height 4 over the line
        ([(1.0, 0.85), (0.5, 0.75)], -5.0),  # below, in any order
        ([(0.5, 0.83), (0.5, 0.81), (1.0, 0.92)], 2.0),  # two at one place count as their mean
    ],
)
def test_area_over_the_static_curve(front: list[tuple[float, float]], score: float) -> None:
    assert elue_score(front, STATIC) == pytest.approx(score)


def test_a_bend_in_the_static_curve_counts() -> None:
    static = [(0.0, 0.0), (1.0, 0.1), (2.0, 0.1)]
    assert elue_score([(0.0, 0.1), (2.0, 0.1)], static) == pytest.approx(100 * 0.05 / 2)


def test_nothing_to_compare() -> None:
    assert elue_score([(0.1, 0.5), (0.4, 0.6)], STATIC) is None
    assert elue_score([(0.75, 0.9)], STATIC[:1]) is None
    assert elue_score([], STATIC) is None
