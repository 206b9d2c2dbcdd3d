"""Test the mean of losses against a bound by betting: a sequential test that may be looked at after every loss.

Each bet multiplies its capital by 1 + rate (loss - bound), which on average gains nothing while the expected loss,
given all earlier ones, is at most the bound. Capital is then an e-process: by Ville's inequality the probability that
it EVER reaches 1 / false_alarm is at most false_alarm (Waudby-Smith and Ramdas 2024, arXiv:2010.09686, section 4).
Nothing else is assumed of the losses: they may depend on each other and change, as long as the bound holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Num
from scipy.special import logsumexp

from eat.checks import number, shown, whole_number
from eat.monitoring.martingale import AT_ONCE, capital_waiting
from eat.monitoring.state import check_keys, check_same, read_counts

SMALLEST_BET = 0.1
"""Up to about this part of its capital a bet gains at the largest loss, in the most careful of the bets."""

EXPONENTS = 2.0 ** np.arange(-8, 4)
"""Exponents of a confidence sequence: from narrow after millions of losses to narrow after a few."""

_BISECTIONS = 60


def bet_rates(bound: float, low: float) -> Float64[np.ndarray, " bets"]:
    """Return the rates of the bets: halves, quarters, ... of the one that a loss of ``low`` would bankrupt."""
    boldest = 1 / (bound - low)
    count = int(np.ceil(np.log2(boldest * (1 - low) / SMALLEST_BET)))
    return np.asarray(boldest * 2.0 ** -np.arange(1.0, count + 1))


def expected_audits(bound: float, mean: float, false_alarm: float, low: float = 0.0) -> float:
    """Return an upper bound on the expected number of losses until the alarm, were their mean ``mean`` from the start.

    The capital is at least that of its best bet, whose logarithm grows on average by no less than with losses of
    ``low`` and 1 alone: the logarithm is concave. Wald's identity bounds the time until it reaches
    log(1 / (false_alarm * share)), beyond which the last step takes it by one gain at most. Infinite where no bet
    grows.
    """
    rates = bet_rates(bound, low)
    lost, gain = np.log1p(-rates * (bound - low)), np.log1p(rates * (1 - bound))
    share = (mean - low) / (1 - low)
    growth = share * gain + (1 - share) * lost
    to_gain = np.log(len(rates) / (false_alarm * AT_ONCE)) + gain
    return float(np.where(growth > 0, to_gain / np.where(growth > 0, growth, 1.0), np.inf).min())


def confidence_sequence(
    total: Float64[np.ndarray, "*times"], count: Num[np.ndarray, "*times"], error: float, low: float = 0.0
) -> tuple[Float64[np.ndarray, "*times"], Float64[np.ndarray, "*times"]]:
    """Return both ends of an interval for the mean of the expected losses so far, valid at all times at once.

    The probability that it EVER misses the mean of the expectations, each given all earlier losses, is at most
    ``error``. With losses x scaled to [0, 1], exp(e sum(x) - n log(1 - m + m exp(e))) is at most a supermartingale for
    each exponent e at their mean m, since exp is convex and log concave; the average over `EXPONENTS`, positive for the
    lower end and negative for the upper one, has half of the error each. Losses between the two ends are taken like a
    coin of the same mean, so that for signed ones the interval is wide.

    Args:
        total: Sums of losses.
        count: How many they are, 1 or more.
        error: In (0, 1).
        low: The least value that a loss can have; the largest is 1.
    """
    scaled = (total - low * count) / (1 - low)
    limit = np.log(2 / error) + np.log(len(EXPONENTS))
    ends = []
    for exponents, end in ((EXPONENTS, 0.0), (-EXPONENTS, 1.0)):
        e = exponents.reshape(-1, *(1,) * scaled.ndim)
        excluded, possible = np.full(scaled.shape, end), scaled / count
        for _ in range(_BISECTIONS):
            mean = (excluded + possible) / 2
            out = logsumexp(e * scaled - count * np.log1p(mean * np.expm1(e)), axis=0) >= limit
            excluded, possible = np.where(out, mean, excluded), np.where(out, possible, mean)
        ends.append(np.asarray(low + (1 - low) * possible))
    return ends[0], ends[1]


class SequentialRiskTest:
    """Anytime-valid test of a bound on the mean of losses: an average of bets, which fires.

    While the expected loss is at most ``bound``, the probability of ever firing is at most ``false_alarm``, per start.
    The order of losses matters little and their grouping not at all. Half of the capital bets from the first loss on,
    the rest is paid in over time, so that a long quiet time does not blind the test (see
    `eat.monitoring.martingale.capital_waiting`). Once it has fired the capital stands still; counts and interval go on.

        test = SequentialRiskTest(bound=0.01)
        if test.observe(losses_of_labelled_answers):
            page_somebody(test.report())

    Args:
        bound: What the mean is promised to be at most, above ``low`` and below 1.
        false_alarm: In (0, 1).
        low: The least value that a loss can have, 0 or below: -1 for a signed drop in accuracy, right before minus
            right now. The largest is 1.

    Raises:
        ValueError: If an argument is out of range.
    """

    RATIOS = (1.5, 2.0, 3.0)
    """Times the bound at which the report says how many losses an alarm takes."""

    def __init__(self, bound: int | float, false_alarm: int | float = 0.01, *, low: int | float = 0.0) -> None:
        self.low = number("low", low, at_most=0)
        self.bound = number("bound", bound, above=self.low, below=1)
        self.false_alarm = number("false_alarm", false_alarm, above=0, below=1)
        self._rates = bet_rates(self.bound, self.low)
        self.alarms = 0
        self.restart()

    def restart(self) -> None:
        """Begin a new test, with its own chance of a false alarm."""
        self.count, self.total = 0, 0.0
        self._waiting = capital_waiting(0)
        self._wealth = np.full(len(self._rates), AT_ONCE / len(self._rates))

    @property
    def e_value(self) -> float:
        """The capital, 1 at the start: evidence against the bound."""
        return self._waiting + float(self._wealth.sum())

    @property
    def fired(self) -> bool:
        """Whether the capital has reached 1 / false_alarm."""
        return self.e_value >= 1 / self.false_alarm

    @property
    def interval(self) -> tuple[float, float]:
        """The mean loss so far lies in it, with probability 1 - false_alarm at all times (`confidence_sequence`)."""
        if self.count == 0:
            return self.low, 1.0
        low, high = confidence_sequence(np.array(self.total), np.array(self.count), self.false_alarm, self.low)
        return float(low), float(high)

    def observe(self, losses: Sequence[int | float] | np.ndarray) -> bool:
        """Look at losses one by one; return whether the test has fired.

        Raises:
            ValueError: If one lies outside [low, 1] or is no number; nothing is taken in then.
        """
        try:
            values = np.asarray(losses, dtype=np.float64)
        except (TypeError, ValueError):
            values = np.asarray(np.nan)
        if values.ndim != 1 or not ((values >= self.low) & (values <= 1)).all():
            raise ValueError(f"losses: expected a list of numbers in [{self.low:g}, 1], got {shown(losses)}")
        fired = self.fired
        for loss in values.tolist():
            self.count += 1
            self.total += loss
            if fired:
                continue
            waiting = capital_waiting(self.count)
            paid_in, self._waiting = self._waiting - waiting, waiting
            self._wealth = (self._wealth + paid_in / len(self._rates)) * (1 + self._rates * (loss - self.bound))
            fired = self.fired
            self.alarms += fired
        return fired

    def report(self) -> dict[str, Any]:
        """Return counts, evidence, interval and power as JSON values.

        ``expected_audits`` says how many losses an alarm takes at most on average, by how many times the bound the mean
        is from the start (see `expected_audits`); None where the mean would be above 1 or nothing is known.
        """
        at = {ratio: self.bound * ratio for ratio in self.RATIOS}
        audits = {
            f"{ratio:g}": expected_audits(self.bound, mean, self.false_alarm, self.low) if mean <= 1 else np.inf
            for ratio, mean in at.items()
        }
        return {
            "bound": self.bound,
            "false_alarm": self.false_alarm,
            "audits": self.count,
            "losses": self.total,
            "risk": self.total / self.count if self.count else None,
            "interval": list(self.interval),
            "e_value": self.e_value,
            "threshold": 1 / self.false_alarm,
            "fired": self.fired,
            "alarms": self.alarms,
            "expected_audits": {ratio: round(n) if np.isfinite(n) else None for ratio, n in audits.items()},
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return self._identity() | {
            "count": self.count,
            "total": self.total,
            "alarms": self.alarms,
            "waiting": self._waiting,
            "wealth": self._wealth.tolist(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a test of the same bound and rate stopped.

        Raises:
            ValueError: If the state is another test's, or a part of it is missing or misshapen; the test then stays as
                it was.
        """
        check_keys("state", state, self.state_dict())
        check_same(state, self._identity(), "test")
        wealth = read_counts("wealth", state["wealth"], self._wealth.shape, np.float64)
        count, alarms = (whole_number(name, state[name], 0) for name in ("count", "alarms"))
        total = number("total", state["total"], at_least=self.low * count, at_most=count)
        waiting = number("waiting", state["waiting"], at_least=0, at_most=1)
        self._wealth, self._waiting = wealth, waiting
        self.count, self.total, self.alarms = count, total, alarms

    def _identity(self) -> dict[str, Any]:
        """Return what a saved state must agree with."""
        return {"bound": self.bound, "false_alarm": self.false_alarm, "low": self.low}
