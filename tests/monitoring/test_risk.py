"""The test of a bound by betting: false alarms, speed, power and intervals, on many made-up streams."""

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from eat.monitoring import SequentialRiskTest
from eat.monitoring.martingale import AT_ONCE, capital_waiting
from eat.monitoring.risk import bet_rates, confidence_sequence, expected_audits

BOUND = 0.05


def fired_at(losses: np.ndarray, bound: float, false_alarm: float, low: float = 0.0) -> np.ndarray:
    """Run the test over many streams (rows) at once; -1 where it does not fire."""
    rates = bet_rates(bound, low)
    wealth = np.full((len(losses), len(rates)), AT_ONCE / len(rates))
    fired = np.full(len(losses), -1)
    for t, column in enumerate(losses.T):
        paid_in = (capital_waiting(t) - capital_waiting(t + 1)) / len(rates)
        wealth = (wealth + paid_in) * (1 + rates * (column[:, None] - bound))
        fired[(fired < 0) & (capital_waiting(t + 1) + wealth.sum(1) >= 1 / false_alarm)] = t + 1
    return fired


def signed(generator: np.random.Generator, shape: tuple[int, int], worse: float, better: float) -> np.ndarray:
    return generator.choice([1.0, -1.0, 0.0], size=shape, p=[worse, better, 1 - worse - better])


@pytest.mark.parametrize("kind", ["binary", "continuous", "signed", "changing"])
def test_false_alarms_at_the_bound_keep_to_the_rate(kind: str) -> None:
    """The mean is just the bound, for as long as the streams run: 400 of 2,000 losses."""
    generator, shape, low = np.random.default_rng(0), (400, 2000), 0.0
    if kind == "binary":
        losses = (generator.random(shape) < BOUND).astype(float)
    elif kind == "continuous":
        losses = generator.beta(0.5, 9.5, size=shape)
        assert losses.mean() == pytest.approx(BOUND, abs=1e-3)
    elif kind == "signed":
        losses, low = signed(generator, shape, worse=0.15, better=0.1), -1.0
    else:  # a stream that hurts more after a loss and less after none keeps the bound at every step or goes below
        losses = np.zeros(shape)
        for t in range(1, shape[1]):
            losses[:, t] = generator.random(shape[0]) < np.where(losses[:, t - 1] > 0, BOUND, BOUND * (t % 2))
    fired = fired_at(losses, BOUND, 0.05, low)
    assert (fired > 0).sum() <= stats.binom.ppf(0.999, 400, 0.05)


def test_alarms_come_at_twice_the_bound_and_within_what_the_report_says() -> None:
    generator = np.random.default_rng(1)
    for ratio in (1.5, 2.0, 3.0):
        fired = fired_at((generator.random((100, 6000)) < ratio * BOUND).astype(float), BOUND, 0.01)
        assert (fired > 0).all()
        stated = expected_audits(BOUND, ratio * BOUND, 0.01)
        assert stated / 2.5 < fired.mean() <= stated


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_no_loss_of_a_mean_has_its_alarm_later_than_stated(low: float) -> None:
    """Losses of ``low`` and 1 alone are the slowest; those in between are noticed sooner."""
    generator, mean = np.random.default_rng(2), 0.4
    losses = np.where(generator.random((50, 1500)) < (mean - low) / (1 - low), 1.0, low)
    milder = generator.uniform(mean - 0.2, mean + 0.2, size=losses.shape)
    slow, fast = (fired_at(x, 0.2, 0.01, low) for x in (losses, milder))
    assert (slow > 0).all() and (fast > 0).all()
    assert fast.mean() < slow.mean() <= expected_audits(0.2, mean, 0.01, low)


def test_a_long_quiet_time_does_not_blind_it() -> None:
    generator = np.random.default_rng(3)
    losses = np.concatenate([np.zeros((20, 3000)), generator.random((20, 1500)) < 3 * BOUND], axis=1).astype(float)
    fired = fired_at(losses, BOUND, 0.01)
    assert (fired > 3000).all() and np.median(fired) < 3600


def test_the_class_is_the_functions_however_losses_come() -> None:
    losses = (np.random.default_rng(4).random(1500) < 3 * BOUND).astype(float)
    at_once, singly = SequentialRiskTest(BOUND), SequentialRiskTest(BOUND)
    assert at_once.e_value == pytest.approx(1) and not at_once.fired
    assert at_once.observe(losses)
    for part in np.split(losses, [1, 7, 7, 300, 301, 1200]):
        singly.observe(part)
    assert singly.report() == at_once.report() and at_once.report()["alarms"] == 1
    (when,) = fired_at(losses[None], BOUND, 0.01)
    before = SequentialRiskTest(BOUND)
    assert not before.observe(losses[: when - 1]) and before.observe(losses[when - 1 : when])
    assert before.e_value == at_once.e_value >= 100, "it stands still once it has fired"
    assert at_once.report()["audits"] == 1500 and at_once.report()["losses"] == losses.sum()
    at_once.restart()
    assert not at_once.fired and at_once.report()["audits"] == 0 and at_once.report()["alarms"] == 1


@pytest.mark.parametrize("mean", [0.0, 0.03, 0.5])
def test_the_interval_holds_the_mean_at_all_times(mean: float) -> None:
    """Looked at along 200 streams whose risk changes between 0 and twice the mean; the mean so far is meant."""
    generator, streams, error = np.random.default_rng(5), 200, 0.1
    times = np.unique(np.geomspace(1, 3000, 25).astype(int))
    risks = mean * (1 + np.sin(np.arange(3000) / 300))
    sums = (generator.random((streams, 3000)) < risks).cumsum(axis=1)
    means = risks.cumsum() / np.arange(1, 3001)
    low, high = confidence_sequence(
        sums[:, times - 1].astype(float), np.broadcast_to(times, (streams, len(times))), error
    )
    missed = ((means[times - 1] < low) | (means[times - 1] > high)).any(axis=1)
    assert missed.sum() <= stats.binom.ppf(0.999, streams, error)
    assert (high[:, -1] - low[:, -1]).max() < 0.1


def test_the_interval_ends_where_its_capital_reaches_the_limit() -> None:
    total, count, error = np.array(12.0), np.array(800), 0.05
    ends = confidence_sequence(total, count, error)
    assert 0 < ends[0] < 12 / 800 < ends[1] < 1
    for end, sign in zip(map(float, ends), (1, -1), strict=True):
        capital = 0.0
        for e in (sign * 2.0**k for k in range(-8, 4)):
            capital += math.exp(12 * e - 800 * math.log(1 - end + end * math.exp(e))) / 12
        assert capital == pytest.approx(2 / error, rel=1e-6)
    low, high = confidence_sequence(total, count, error, low=-1.0)
    zero, one = confidence_sequence(np.array(406.0), count, error)
    assert (low, high) == pytest.approx((2 * zero - 1, 2 * one - 1))
    assert SequentialRiskTest(BOUND).interval == (0.0, 1.0) and SequentialRiskTest(BOUND, low=-1).interval == (
        -1.0,
        1.0,
    )


def test_a_saved_test_goes_on_as_if_never_stopped() -> None:
    losses = (np.random.default_rng(6).random(900) < 2 * BOUND).astype(float)
    whole, first, second = (SequentialRiskTest(BOUND, 0.001) for _ in range(3))
    whole.observe(losses)
    first.observe(losses[:400])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    second.observe(losses[400:])
    assert second.report() == whole.report() and second.state_dict() == whole.state_dict()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"bound": 0.1}, r"state\['bound'\]: expected this test's 0.05, got 0.1"),
        ({"wealth": [1.0]}, r"wealth: expected finite numbers of 0 or more in the shape \(\d+,\), got shape \(1,\)"),
        ({"wealth": [-1.0] * 8}, r"wealth: expected finite numbers"),
        ({"total": 5.0}, r"total: expected a number in \[0, 2\], got 5.0"),
        ({"count": 1.5}, r"count: expected an integer of 0 or more, got 1.5"),
        ({"more": 1}, r"state: expected a mapping with the keys"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_broken_state_is_refused_whole(spoil: dict[str, Any], message: str) -> None:
    test = SequentialRiskTest(BOUND)
    test.observe([1.0, 0.0])
    before = test.state_dict()
    with pytest.raises(ValueError, match=message):
        test.load_state_dict(before | spoil)
    assert test.state_dict() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bound": 0}, r"bound: expected a number in \(0, 1\), got 0"),
        ({"bound": 1.0}, r"bound: .* got 1.0"),
        ({"bound": -1.0, "low": -1}, r"bound: expected a number in \(-1, 1\), got -1.0"),
        ({"bound": 0.1, "low": 0.5}, r"low: expected a number of 0 or less, got 0.5"),
        ({"bound": 0.1, "false_alarm": 1}, r"false_alarm: expected a number in \(0, 1\), got 1"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequentialRiskTest(**options)


@pytest.mark.parametrize("losses", [[0.0, 1.5], [-0.5], [float("nan")], np.zeros((1, 1))])
def test_what_is_no_loss_is_refused_whole(losses: Any) -> None:
    test = SequentialRiskTest(BOUND)
    with pytest.raises(ValueError, match=r"losses: expected a list of numbers in \[0, 1\], got"):
        test.observe(losses)
    assert test.report()["audits"] == 0 and test.report()["risk"] is None


def test_power_is_stated_where_there_is_any() -> None:
    report = SequentialRiskTest(0.01).report()
    audits = report["expected_audits"]
    assert list(audits) == ["1.5", "2", "3"] and audits["1.5"] > audits["2"] > audits["3"] > 300
    assert SequentialRiskTest(0.4).report()["expected_audits"]["3"] is None, "no mean is above 1"
