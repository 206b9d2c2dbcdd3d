"""The test of drift: exact under no drift, quick under drift, early and late."""

import json

import numpy as np
import pytest
from scipy import stats

from eat.monitoring.martingale import (
    JUMP_RATES,
    SHIFT,
    SPREAD,
    DriftTest,
    bet,
    capital_waiting,
    first_wealth,
    smoothed_p_values,
)
from eat.traces.profile import BINS, QUANTITIES, Profile

DEPTHS = np.arange(1, 7)
CERTIFIED = np.array([0.0, 0.5, 0.2, 0.1, 0.1, 0.1])  # mean depth 3.1
HARDER = CERTIFIED * np.exp(0.3 * DEPTHS) / (CERTIFIED * np.exp(0.3 * DEPTHS)).sum()
SAMPLE = 1500


def fired_at(streams, examples, *, drifts_at=None, drifted=HARDER, false_alarm=0.01, sample=SAMPLE, seed=0):
    """Run many streams of one drifting quantity beside three that never drift; -1 where the test does not fire."""
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(sample, CERTIFIED, size=(streams, len(QUANTITIES)))
    wealth = np.broadcast_to(first_wealth(), (streams, len(QUANTITIES), *first_wealth().shape))
    fired, row = np.full(streams, -1), np.arange(streams)[:, None]
    for t in range(examples):
        bins = generator.choice(6, size=(streams, len(QUANTITIES)), p=CERTIFIED)
        if drifts_at is not None and t >= drifts_at:
            bins[:, 0] = generator.choice(6, size=streams, p=drifted)
        p_values = smoothed_p_values(counts, bins, generator.random(bins.shape))
        wealth = bet(wealth, capital_waiting(t) - capital_waiting(t + 1), p_values)
        counts[row, np.arange(len(QUANTITIES)), bins] += 1
        average = capital_waiting(t + 1) + wealth.sum((-1, -2)).mean(-1)
        fired[(fired < 0) & (average >= 1 / false_alarm)] = t
    return fired


def test_p_values_by_hand():
    counts = np.array([[2, 0, 3, 1]])
    for bins, uniform, expected in ((0, 0.5, (4 + 0.5 * 3) / 7), (1, 0.25, (4 + 0.25) / 7), (3, 0.0, 0.0)):
        assert smoothed_p_values(counts, np.array([bins]), np.array([uniform])) == pytest.approx(expected)


def test_p_values_are_independent_and_uniform_however_small_the_sample():
    """In each of 2,000 streams three p-values after a sample of 5."""
    generator = np.random.default_rng(0)
    counts = generator.multinomial(5, CERTIFIED, size=(2000, 1))
    p_values = []
    for _ in range(3):
        bins = generator.choice(6, size=(2000, 1), p=CERTIFIED)
        p_values.append(smoothed_p_values(counts, bins, generator.random((2000, 1)))[:, 0])
        counts[np.arange(2000), 0, bins[:, 0]] += 1
    for column in p_values:
        assert stats.kstest(column, "uniform").pvalue > 0.001
    for pair in ((0, 1), (1, 2)):
        table = np.histogram2d(*(p_values[i] for i in pair), bins=4, range=[[0, 1]] * 2)[0]
        assert stats.chisquare(table.ravel()).pvalue > 0.001


def test_no_bet_gains_or_loses_on_average_and_none_goes_bankrupt():
    p = (np.arange(10_000) + 0.5) / 10_000
    factors = 1 + SHIFT[:, None] * (p - 0.5) + SPREAD[:, None] * (np.abs(2 * p - 1) - 0.5)
    np.testing.assert_allclose(factors.mean(1), 1, atol=1e-8)
    assert factors.min() > 0.2
    wealth = np.stack([bet(first_wealth(), 0.01, np.array(value)) for value in p]).mean(0)
    assert wealth.sum() == pytest.approx(first_wealth().sum() + 0.01)


def test_all_capital_is_paid_in_once():
    assert capital_waiting(0) + first_wealth().sum() == pytest.approx(1)
    waiting = [capital_waiting(t) for t in (0, 1, 10**3, 10**6, 10**12)]
    assert waiting == sorted(waiting, reverse=True) and waiting[-1] > 0


def test_capital_that_jumps_is_kept():
    """At p = 1/2 shift bets neither win nor lose, and spread bets win what others lose."""
    idle = np.zeros((len(JUMP_RATES), len(SHIFT)))
    idle[:, 0] = 1
    after = bet(idle, 0.0, np.array(0.5))
    assert after.sum(1) == pytest.approx(1)
    assert after[:, 0] == pytest.approx(1 - JUMP_RATES + JUMP_RATES / len(SHIFT))


@pytest.mark.parametrize("sample", [100, SAMPLE])
def test_false_alarms_keep_to_the_rate(sample):
    fired = fired_at(400, 2000, false_alarm=0.05, sample=sample)
    assert (fired >= 0).sum() <= stats.binom.ppf(0.999, 400, 0.05)


def test_harder_texts_are_noticed_from_the_start():
    assert (CERTIFIED * DEPTHS).sum() == pytest.approx(3.1) and (HARDER * DEPTHS).sum() == pytest.approx(3.77, abs=0.02)
    fired = fired_at(40, 800, drifts_at=0)
    assert (fired >= 0).all() and np.median(fired) < 200


def test_easier_texts_and_other_spreads_are_noticed():
    easier = CERTIFIED * np.exp(-0.6 * DEPTHS) / (CERTIFIED * np.exp(-0.6 * DEPTHS)).sum()
    apart = np.array([0.0, 0.6, 0.0, 0.0, 0.05, 0.35])
    for drifted in (easier, apart):
        fired = fired_at(20, 1500, drifts_at=0, drifted=drifted)
        assert (fired >= 0).all()


def test_a_long_quiet_time_does_not_blind_the_test():
    fired = fired_at(20, 5600, drifts_at=5000)
    assert (fired >= 5000).mean() >= 0.9 and (fired[fired >= 0] >= 5000).all()


def profile(generator, sample=SAMPLE):
    counts = np.zeros((len(QUANTITIES), BINS), dtype=np.int64)
    counts[:, :6] = generator.multinomial(sample, CERTIFIED, size=len(QUANTITIES))
    return Profile(counts)


def draw(generator, examples, p=CERTIFIED):
    return generator.choice(6, size=(len(QUANTITIES), examples), p=p)


def test_the_class_is_the_functions():
    generator = np.random.default_rng(0)
    certified, stream = profile(generator), draw(generator, 50)
    test = DriftTest(certified, 0.01, seed=3)
    assert test.martingale == pytest.approx(1)
    assert not test.observe(stream)
    uniform = np.random.default_rng(3)
    counts, wealth = certified.counts.copy(), np.stack([first_wealth()] * 4)
    for t, bins in enumerate(stream.T):
        p_values = smoothed_p_values(counts, bins, uniform.random(4))
        wealth = bet(wealth, capital_waiting(t) - capital_waiting(t + 1), p_values)
        counts[np.arange(4), bins] += 1
    expected = capital_waiting(50) + wealth.sum((1, 2))
    assert list(test.martingales.values()) == pytest.approx(expected.tolist())
    assert test.martingale == pytest.approx(expected.mean()) and test.examples == 50


def test_it_stands_still_once_it_has_fired_and_starts_anew():
    generator = np.random.default_rng(0)
    test = DriftTest(profile(generator), 0.01, seed=0)
    assert test.observe(draw(generator, 2000, HARDER)) and test.fired
    seen, value = test.examples, test.martingale
    assert seen < 2000 and 100 <= value < 200
    assert test.observe(draw(generator, 100)) and (test.examples, test.martingale) == (seen, value)
    test.restart()
    assert not test.fired and test.examples == 0 and test.martingale == pytest.approx(1)
    assert not test.observe(draw(generator, 200))


def test_a_saved_test_goes_on_as_if_never_stopped():
    generator = np.random.default_rng(0)
    certified, stream = profile(generator), draw(generator, 200)
    whole, first = (DriftTest(certified, 0.01, seed=1) for _ in range(2))
    whole.observe(stream)
    first.observe(stream[:, :80])
    second = DriftTest(certified, 0.01, seed=99)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    second.observe(stream[:, 80:])
    assert second.martingales == whole.martingales and second.examples == 200
    with pytest.raises(ValueError, match=r"wealth: expected finite numbers"):
        second.load_state_dict(first.state_dict() | {"wealth": [[1.0]]})
