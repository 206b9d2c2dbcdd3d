"""p-values and bounds against slow, obvious references."""

import math

import numpy as np
import pytest
from scipy import stats

from eat.evaluation.certify.p_values import (
    betting_p_value,
    betting_upper_bound,
    binomial_p_value,
    binomial_upper_bound,
    examples_needed,
    hoeffding_bentkus_p_value,
    hoeffding_bentkus_upper_bound,
)


def tail(k: int, n: int, p: float) -> float:
    """P(Bin(n, p) <= k), one term after the other."""
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(min(k, n) + 1))


def slow_hoeffding_bentkus(total: float, n: int, a: float) -> float:
    mean = min(total / n, a)
    h = sum(x * math.log(x / y) for x, y in ((mean, a), (1 - mean, 1 - a)) if x > 0)
    return min(1.0, math.exp(-n * h), math.e * tail(math.ceil(total), n, a))


@pytest.mark.parametrize("n", [1, 20, 150])
@pytest.mark.parametrize("risk", [0.01, 0.1, 0.5])
def test_binomial_p_value_is_the_tail(n: int, risk: float) -> None:
    totals = np.arange(n + 1)
    expected = [tail(k, n, risk) for k in totals.tolist()]
    np.testing.assert_allclose(binomial_p_value(totals, n, risk), expected, rtol=1e-9)


@pytest.mark.parametrize("n", [1, 20, 150])
@pytest.mark.parametrize("risk", [0.01, 0.1, 0.5])
def test_hoeffding_bentkus_p_value_is_its_formula(n: int, risk: float) -> None:
    totals = np.random.default_rng(0).uniform(0, n, size=50)
    expected = [slow_hoeffding_bentkus(total, n, risk) for total in totals.tolist()]
    np.testing.assert_allclose(hoeffding_bentkus_p_value(totals, n, risk), expected, rtol=1e-9)
    assert hoeffding_bentkus_p_value(np.array([0.0]), n, risk)[0] == pytest.approx((1 - risk) ** n)


def test_largest_certified_numbers_of_harmful_exits() -> None:
    """The figures of the literature notes: 95 %, 0.5, 1 and 2 points."""
    for n, most in ((1500, (2, 8, 20)), (5000, (16, 38, 83))):
        for risk, count in zip((0.005, 0.01, 0.02), most, strict=True):
            p_values = binomial_p_value(np.arange(n), n, risk)
            assert int((p_values <= 0.05).sum()) - 1 == count


def test_p_values_are_valid() -> None:
    """At the boundary, true risk = the bound, a p-value is below u with probability at most u."""
    n, risk = 200, 0.05
    k = np.arange(n + 1)
    probability = stats.binom.pmf(k, n, risk)
    for p_values in (binomial_p_value(k, n, risk), hoeffding_bentkus_p_value(k.astype(float), n, risk)):
        for u in (0.01, 0.05, 0.1, 0.3):
            assert probability[p_values <= u].sum() <= u + 1e-12


@pytest.mark.parametrize(
    ("lost", "gained", "a"), [(0, 0, 0.01), (7, 3, 0.05), (3, 9, 0.01), (4, 2, -0.2), (60, 0, 0.3)]
)
def test_betting_p_value_is_its_formula(lost: int, gained: int, a: float) -> None:
    differences = [1] * lost + [-1] * gained + [0] * (100 - lost - gained)
    capital = [math.prod(1 + s * (a - x) / (1 - a) for x in differences) for s in np.linspace(0.05, 0.95, 10)]
    found = betting_p_value(np.array(lost), 100, a, np.array(gained))
    assert float(found) == pytest.approx(min(1.0, 1 / float(np.mean(capital))))


@pytest.mark.parametrize(("worse", "better"), [(0.05, 0.0), (0.1, 0.05), (0.3, 0.25), (0.05, 0.2)])
def test_betting_p_values_are_valid(worse: float, better: float) -> None:
    """Over all outcomes of 60 differences whose mean is just the bound, summed exactly."""
    n = 60
    lost, gained = np.meshgrid(np.arange(n + 1), np.arange(n + 1))
    inside = lost + gained <= n
    lost, gained = lost[inside], gained[inside]
    outcomes = np.stack([lost, gained, n - lost - gained], axis=1)
    probability = stats.multinomial.pmf(outcomes, n, [worse, better, 1 - worse - better])
    p_values = betting_p_value(lost, n, worse - better, gained)
    for u in (0.01, 0.05, 0.1, 0.3):
        assert probability[p_values <= u].sum() <= u + 1e-12


def test_gains_that_set_off_losses_certify_what_losses_alone_do_not() -> None:
    lost, gained = np.array(10), np.array(10)
    assert betting_p_value(lost, 1500, 0.01, gained) < 0.05 < binomial_p_value(lost, 1500, 0.01)
    assert betting_p_value(lost, 1500, 0.01, 0) > binomial_p_value(lost, 1500, 0.01), "without gains it knows less"


def test_a_betting_upper_bound_is_where_the_p_value_reaches_its_level() -> None:
    lost, gained = np.array([0.0, 10.0, 3.0]), np.array([0.0, 10.0, 40.0])
    bounds = betting_upper_bound(lost, 1500, 0.95, gained)
    np.testing.assert_allclose(betting_p_value(lost, 1500, bounds, gained), 0.05, rtol=1e-6)
    assert (bounds > (lost - gained) / 1500).all() and bounds[2] < 0 < bounds[1] < 0.01


@pytest.mark.parametrize("total", [0, 3, 17, 100])
def test_upper_bounds_are_where_the_p_value_reaches_its_level(total: int) -> None:
    totals, n = np.array([float(total)]), 100
    exact = binomial_upper_bound(totals, n, 0.95)[0]
    bound = hoeffding_bentkus_upper_bound(totals, n, 0.95)[0]
    assert total / n <= exact <= bound <= 1
    if total < n:
        assert binomial_p_value(totals, n, float(exact))[0] == pytest.approx(0.05)
        assert hoeffding_bentkus_p_value(totals, n, float(bound) + 1e-6)[0] <= 0.05
        assert hoeffding_bentkus_p_value(totals, n, float(bound) - 1e-6)[0] > 0.05
    else:
        assert exact == bound == 1.0


@pytest.mark.parametrize(("risk", "bound"), [(0.0, 0.01), (0.0, 0.005), (0.004, 0.01), (0.015, 0.02)])
def test_examples_needed_is_the_first_size_that_passes(risk: float, bound: float) -> None:
    def passes(total: np.ndarray, examples: np.ndarray) -> np.ndarray:
        return binomial_p_value(total, examples, bound) <= 0.05

    first = next(n for n in range(1, 100_000) if stats.binom.cdf(math.ceil(risk * n - 1e-9), n, bound) <= 0.05)
    assert examples_needed(passes, risk) == first
    if risk == 0:
        assert first == math.ceil(math.log(0.05) / math.log(1 - bound))


def test_a_risk_at_the_bound_needs_more_than_there_is() -> None:
    assert examples_needed(lambda total, n: total / n < 0.01, 0.01) is None
