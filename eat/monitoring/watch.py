"""Watch one source's answers: counts, histograms, recent percentiles, and the test of drift."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from eat.monitoring.martingale import DriftTest
from eat.monitoring.sources import SourcePoint
from eat.monitoring.state import check_keys, read_counts
from eat.traces.profile import BINS, QUANTITIES, bins_of, upper_edges

CRITERION, LAST_HEAD, BROKEN, FALLBACK, SUSPICIOUS = "criterion", "last_head", "broken", "fallback", "suspicious"
"""Why an answer came where it did: an early exit; full depth, since the criterion let it leave nowhere; NaN or infinite
logits (they never leave early); full depth since the guard fired; full depth since the caller said suspicious."""

PERCENTILES = (5, 25, 50, 75, 95)
_SHOWN = ("examples", "martingale", "threshold", "martingales")


class Watch:
    """Count the answers of one source and test those at its operating point for drift.

    Histograms and reasons are of all answers, and never start again. Answers at full depth by order (fallback,
    suspicious) say nothing of the operating point: test and recent percentiles leave them out.
    """

    def __init__(self, point: SourcePoint, *, num_layers: int, false_alarm: float, window: int, seed: int) -> None:
        self.point = point
        self.num_layers = num_layers
        self.window = window
        self.test = None if point.profile is None else DriftTest(point.profile, false_alarm, seed)
        self.reasons: Counter[tuple[str, int]] = Counter()
        self.histogram = np.zeros((len(QUANTITIES), BINS), dtype=np.int64)
        self.sums = np.zeros(len(QUANTITIES))
        self.alarms = 0
        self._recent = np.zeros((len(QUANTITIES), 0), dtype=np.int64)

    @property
    def fired(self) -> bool:
        """Whether traffic was found to differ since the last start."""
        return self.test is not None and self.test.fired

    def observe(
        self, values: Float64[np.ndarray, "quantities n"], whole: Bool[np.ndarray, " n"], order: str | None
    ) -> bool:
        """Take in answers, with their values as from `measure`; return whether they made the test fire.

        ``whole`` is False where logits are NaN or infinite; ``order`` says why the answers were at full depth by order,
        and is None at the operating point.
        """
        bins = bins_of(values)
        for depth, sound in zip(values[0].astype(int).tolist(), whole.tolist(), strict=True):
            reason = CRITERION if depth < self.num_layers else LAST_HEAD
            self.reasons[(order or reason) if sound else BROKEN, depth] += 1
        for histogram, row in zip(self.histogram, bins, strict=True):
            histogram += np.bincount(row, minlength=BINS)
        self.sums += values.sum(1)
        if order is not None:
            return False
        self._recent = np.concatenate([self._recent, bins], axis=1)[:, -self.window :]
        if self.test is None or self.test.fired or not self.test.observe(bins):
            return False
        self.alarms += 1
        return True

    def percentiles(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return percentiles by quantity, certified and recent, to the upper edge of their bin; for people."""
        recent = np.stack([np.bincount(row, minlength=BINS) for row in self._recent])
        certified = np.zeros_like(recent) if self.point.profile is None else self.point.profile.counts
        edges = upper_edges()
        both = {"certified": certified, "recent": recent}
        return {
            name: {answers: _percentiles(counts[row], edges[row]) for answers, counts in both.items()}
            for row, name in enumerate(QUANTITIES)
        }

    def report(self) -> dict[str, Any]:
        """Return the state in words and numbers."""
        return {
            "exit": self.point.exit,
            "watched": self.test is not None,
            "fired": self.fired,
            "alarms": self.alarms,
            "reasons": {f"{reason} at depth {depth}": n for (reason, depth), n in sorted(self.reasons.items())},
            "percentiles": self.percentiles(),
            "test": self.test and {name: getattr(self.test, name) for name in _SHOWN},
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return {
            "reasons": [[reason, depth, count] for (reason, depth), count in sorted(self.reasons.items())],
            "histogram": self.histogram.tolist(),
            "sums": self.sums.tolist(),
            "alarms": self.alarms,
            "recent": self._recent.tolist(),
            "test": self.test and self.test.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another watch of the same point stopped; after an error this one is of no more use."""
        check_keys("state", state, self.state_dict())
        quantities = len(QUANTITIES)
        recent = read_counts("recent", state["recent"], (quantities, None))
        if (recent >= BINS).any():
            raise ValueError(f"recent: expected bins below {BINS}, got {recent.max()}")
        self._recent = recent[:, -self.window :]
        self.histogram = read_counts("histogram", state["histogram"], (quantities, BINS))
        self.sums = read_counts("sums", state["sums"], (quantities,), np.float64)
        self.reasons = Counter({(reason, depth): count for reason, depth, count in state["reasons"]})
        self.alarms = state["alarms"]
        if self.test is not None:
            check_keys("test", state["test"], self.test.state_dict())
            self.test.load_state_dict(state["test"])


def _percentiles(counts: Int64[np.ndarray, " bins"], edges: Float64[np.ndarray, " bins"]) -> dict[str, float]:
    """Return the upper edge of the bin that holds each percentile; nothing where nothing was counted."""
    if not counts.any():
        return {}
    places = np.searchsorted(counts.cumsum(), [p / 100 * counts.sum() for p in PERCENTILES])
    return {str(p): float(edges[place]) for p, place in zip(PERCENTILES, places, strict=True)}
