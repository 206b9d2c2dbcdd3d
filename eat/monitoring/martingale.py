"""Conformal test martingales: a sequential test of drift that may be looked at after every example.

Each example gets a conformal p-value among the certified examples and all earlier ones of the stream. As long as all of
them are exchangeable, p-values are independent and uniform, exactly, whatever the distribution and however small the
certified sample. A martingale bets against that; by Ville's inequality the probability that it EVER reaches
1 / false_alarm is at most false_alarm (Vovk, Nouretdinov and Gammerman 2003; Vovk et al. 2021, arXiv:2102.10439).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from eat.monitoring.state import read_counts
from eat.traces.profile import QUANTITIES, Profile

_SLOPES = np.array([-1.5, -0.5, 0.5, 1.5])
# A bet multiplies its capital by 1 + shift (p - 1/2) + spread (|2p - 1| - 1/2), whose mean over uniform p is 1: smaller
# or larger values than certified, further out or further in. The first bet is none.
SHIFT = np.concatenate([[0.0], _SLOPES, 0 * _SLOPES])
SPREAD = np.concatenate([[0.0], 0 * _SLOPES, _SLOPES])
JUMP_RATES = np.array([0.001, 0.01, 0.1])
"""Part of the capital that changes its bet at each example, of three jumpers with equal shares (Composite Jumper)."""

AT_ONCE = 0.5
"""Part of the capital that bets from the first example on: traffic may differ from the start."""

HORIZON = 1000.0
"""Examples in which about 0.4 of the other part has begun to bet."""


def smoothed_p_values(
    counts: Int64[np.ndarray, "*streams quantities bins"],
    bins: Int64[np.ndarray, "*streams quantities"],
    uniform: Float64[np.ndarray, "*streams quantities"],
) -> Float64[np.ndarray, "*streams quantities"]:
    """Return conformal p-values of new examples among those counted; small where a value is large.

    Args:
        counts: Earlier examples by bin.
        bins: Bins of the new example.
        uniform: Draws in [0, 1) that break ties, those with the example itself included.
    """
    larger = (counts * (np.arange(counts.shape[-1]) > bins[..., None])).sum(-1)
    equal = np.take_along_axis(counts, bins[..., None], axis=-1)[..., 0] + 1
    return (larger + uniform * equal) / (counts.sum(-1) + 1)


def capital_waiting(examples: int) -> float:
    """Return the part of the capital that has not begun to bet after so many examples.

    The rest was paid in bit by bit: a martingale restarted before each example, with weights that sum to 1. Without it
    a long quiet time would cost nearly all capital and blind the test. What a change after t examples must overcome
    beside 1 / false_alarm is about t log(t)^2 over the examples that it takes to see it: the delay grows with log(t)
    only.
    """
    return float((1 - AT_ONCE) / (1 + np.log1p(examples / HORIZON)))


def first_wealth() -> Float64[np.ndarray, "rates bets"]:
    """Return the capital that bets from the start, in equal shares."""
    shape = len(JUMP_RATES), len(SHIFT)
    return np.full(shape, AT_ONCE / (shape[0] * shape[1]))


def bet(
    wealth: Float64[np.ndarray, "*streams rates bets"], paid_in: float, p_values: Float64[np.ndarray, "*streams"]
) -> Float64[np.ndarray, "*streams rates bets"]:
    """Return the capital after one example: some changes its bet, what is paid in spreads, then bets are settled."""
    spread_evenly = JUMP_RATES * wealth.sum(-1) + paid_in / len(JUMP_RATES)
    placed = (1 - JUMP_RATES)[:, None] * wealth + spread_evenly[..., None] / len(SHIFT)
    p = p_values[..., None]
    factors = 1 + SHIFT * (p - 0.5) + SPREAD * (np.abs(2 * p - 1) - 0.5)
    return placed * factors[..., None, :]


class DriftTest:
    """Drift test: one conformal martingale per quantity and their average, itself a martingale, which fires.

    While nothing drifts from the certified examples (``profile``), the probability of ever firing is at most
    ``false_alarm``, per start; ``seed`` is of the draws that break ties. The test stands still once it has fired: what
    it shows then is why. Its numbers need no logarithms: capital that waits keeps it above 0, and standing still bounds
    it.

    The p-values' independence needs more than equal distributions: traffic that repeats itself or comes in bursts is
    not exchangeable, and counts as drift. The rate is exact for a certified point that was fixed beforehand; the
    certification split, whose profile this is, also decided how far along a fixed order of points to go, a dependence
    that is left out.
    """

    def __init__(self, profile: Profile, false_alarm: float, seed: int) -> None:
        self.profile = profile
        self.threshold = 1 / false_alarm
        self._generator = np.random.default_rng(seed)
        self.restart()

    def restart(self) -> None:
        """Begin a new test, with its own chance of a false alarm."""
        self.examples = 0
        self._counts = self.profile.counts.copy()
        self._wealth = np.stack([first_wealth()] * len(QUANTITIES))

    @property
    def martingales(self) -> dict[str, float]:
        """The martingale of each quantity."""
        values = capital_waiting(self.examples) + self._wealth.sum((1, 2))
        return dict(zip(QUANTITIES, values.tolist(), strict=True))

    @property
    def martingale(self) -> float:
        """Their average."""
        return capital_waiting(self.examples) + float(self._wealth.sum()) / len(QUANTITIES)

    @property
    def fired(self) -> bool:
        """Whether the average has reached 1 / false_alarm."""
        return self.martingale >= self.threshold

    def observe(self, bins: Int64[np.ndarray, "quantities examples"]) -> bool:
        """Look at examples one by one, up to the one that fires; return whether the test has fired."""
        rows = np.arange(len(QUANTITIES))
        fired = self.fired
        for column in bins.T:
            if fired:
                break
            p_values = smoothed_p_values(self._counts, column, self._generator.random(len(QUANTITIES)))
            paid_in = capital_waiting(self.examples) - capital_waiting(self.examples + 1)
            self._wealth = bet(self._wealth, paid_in, p_values)
            self._counts[rows, column] += 1
            self.examples += 1
            fired = self.fired
        return fired

    def state_dict(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return {
            "stream": Profile(self._counts - self.profile.counts).to_dict(),
            "wealth": self._wealth.tolist(),
            "generator": self._generator.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a saved test of the same version stopped."""
        wealth = read_counts("wealth", state["wealth"], self._wealth.shape, np.float64)
        stream = Profile.from_dict(state["stream"])
        self._generator.bit_generator.state = state["generator"]
        self._counts, self._wealth = self.profile.counts + stream.counts, wealth
        self.examples = stream.examples
