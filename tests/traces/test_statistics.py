"""Intervals against values worked by hand and against other implementations."""

import inspect

import numpy as np
import pytest
from scipy import stats

from eat.tasks.metrics import accuracy, pearson
from eat.traces.statistics import (
    mcnemar,
    mean_interval,
    paired_difference_interval,
    paired_ratio,
    paired_share_interval,
    wilson_interval,
)


def test_wilson_by_hand() -> None:
    # 8 of 10, z = 1.96: centre (0.8 + z^2/20) / (1 + z^2/10), half z sqrt(0.016 + z^2/400) / (1 + z^2/10).
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)


@pytest.mark.parametrize("correct", [0, 10])
def test_wilson_stays_inside(correct: int) -> None:
    low, high = wilson_interval(correct, 10)
    assert 0 <= low < high <= 1
    assert low <= correct / 10 <= high


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (3, 2), (-1, 5)])
def test_wilson_refuses_what_is_no_proportion(correct: int, total: int) -> None:
    with pytest.raises(ValueError, match="correct"):
        wilson_interval(correct, total)


def test_mcnemar_by_hand() -> None:
    right = np.array([True] * 5 + [False] * 1 + [True] * 4)
    reference = np.array([False] * 5 + [True] * 1 + [True] * 4)
    gained, lost, p_value = mcnemar(right, reference)
    # Two-sided, 6 discordant pairs of which at most 1 goes the rarer way: 2 (1 + 6) / 2^6.
    assert (gained, lost, p_value) == (5, 1, pytest.approx(14 / 64))


def test_mcnemar_without_a_difference() -> None:
    assert mcnemar(np.array([True, False]), np.array([True, False])) == (0, 0, 1.0)


def test_a_ratio_is_the_median_of_those_of_the_rounds() -> None:
    theirs, ours = np.array([[2.0, 4.0], [3.0, 3.0], [9.0, 3.0]]), np.array([[1.0, 2.0], [1.0, 1.0], [1.0, 1.0]])
    assert paired_ratio(theirs, ours)[0] == 3.0  # of 2, 3 and 6
    assert paired_ratio(ours, ours) == (1.0, 1.0, 1.0)


def test_one_batch_gives_the_range_of_few_rounds() -> None:
    ratios = np.array([[1.2], [1.0], [1.4], [1.1], [1.3]])
    assert paired_ratio(ratios, np.ones((5, 1))) == (1.2, 1.0, 1.4)


def test_one_round_gives_an_interval_over_batches() -> None:
    ours = np.ones((1, 400))
    theirs = ours + np.random.default_rng(0).exponential(1.0, size=(1, 400))
    ratio, low, high = paired_ratio(theirs, ours)
    half = 1.96 * theirs.std() / 20
    assert (low, high) == pytest.approx((ratio - half, ratio + half), abs=0.015)


def test_few_batches_widen_the_interval_by_students_t() -> None:
    ours, theirs = np.ones((1, 6)), np.array([[1.0, 1.1, 1.3, 1.4, 1.6, 1.7]])
    _, low, high = paired_ratio(theirs, ours, draws=100_000)
    # Six values: sqrt(6 / 5) times Student's 2.571, out of normal quantiles, 2.816: percentiles at 0.243 and 99.757.
    drawn = np.random.default_rng(1).choice(theirs[0], size=(100_000, 6)).mean(axis=1)
    assert (low, high) == pytest.approx(tuple(np.percentile(drawn, [0.243, 99.757])), abs=0.01)


def test_a_ratio_needs_times_of_both() -> None:
    with pytest.raises(ValueError, match="expected times of both in the same calls"):
        paired_ratio(np.ones((1, 0)), np.ones((1, 0)))
    with pytest.raises(ValueError, match=r"got \(1, 2\) and \(2, 1\)"):
        inspect.unwrap(paired_ratio)(np.ones((1, 2)), np.ones((2, 1)))


def test_mean_interval_is_the_normal_one() -> None:
    values = np.arange(100.0)
    low, high = mean_interval(values)
    assert (low, high) == pytest.approx(stats.norm.interval(0.95, 49.5, values.std() / 10))


def test_paired_interval_knows_equal_answers() -> None:
    labels = np.array([0, 1, 1])
    assert paired_difference_interval(accuracy, labels, labels, labels) == (0.0, 0.0)


@pytest.mark.parametrize("number", [2, 80, 3000])
def test_the_interval_of_accuracy_is_the_same_from_right_answers(number: int) -> None:
    generator = np.random.default_rng(number)
    labels = generator.integers(3, size=number)
    ours, theirs = (np.where(generator.random(number) < 0.8, labels, guess) for guess in (0, 1))
    ours[0] = 2 - theirs[0]
    shares = paired_share_interval(ours == labels, theirs == labels)
    assert shares == paired_difference_interval(accuracy, labels, ours, theirs)
    assert paired_share_interval(ours == labels, ours == labels) == (0.0, 0.0)


def test_paired_interval_is_as_wide_as_theory_says() -> None:
    generator = np.random.default_rng(0)
    labels = np.zeros(1000, dtype=int)
    ours, theirs = (generator.random(1000) < 0.1).astype(int), (generator.random(1000) < 0.2).astype(int)
    low, high = paired_difference_interval(accuracy, labels, ours, theirs)
    difference = (ours == labels).astype(float) - (theirs == labels)
    error = 1.96 * difference.std() / 1000**0.5
    assert (low, high) == pytest.approx((difference.mean() - error, difference.mean() + error), abs=0.005)


def test_undefined_draws_are_left_out() -> None:
    labels = np.array([0.0, 1.0])  # half of all draws repeat one example, and a constant has no correlation
    low, high = paired_difference_interval(pearson, labels, np.array([0.0, 1.0]), np.array([1.0, 0.0]))
    assert (low, high) == (pytest.approx(2.0), pytest.approx(2.0))
