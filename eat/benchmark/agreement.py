"""Live answers beside replayed ones, and the work that was saved on just the examples that were timed."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from eat.benchmark.results import Benchmark
from eat.benchmark.shortcuts import Shortcut
from eat.exits.points import OperatingPoint
from eat.traces.quality import predictions
from eat.traces.replay import replay
from eat.traces.run_traces import RunTraces


def compare_with_replay(
    benchmark: Benchmark, traces: RunTraces, index: Int[np.ndarray, " drawn"], shortcuts: Sequence[Shortcut] = ()
) -> Benchmark:
    """Set what was answered live beside what was replayed.

    Returns:
        The same without ``answers``; with ``agreement``, ``shortcuts`` and, in each measurement of ours,
        ``flops_ratio`` to the encoder with everything off.
    """
    expected = _Expected(traces, shortcuts)
    points = benchmark.points()
    agreement = {}
    for name, answers in benchmark.answers.items():
        rows = index[: len(answers)]
        agreement[name] = (count_equal(np.asarray(answers), expected.logits(name, points.get(name))[rows]), len(rows))
    measurements = []
    for one in benchmark.measurements:
        executed = expected.executed(one.contender, one.exit)
        rows = index[: one.examples]
        ratio = None if executed is None else float(executed[rows].sum() / expected.dense[rows].sum())
        measurements.append(dataclasses.replace(one, flops_ratio=ratio))
    return dataclasses.replace(
        benchmark,
        measurements=tuple(measurements),
        agreement=agreement,
        shortcuts={shortcut.name: shortcut.facts(traces) for shortcut in shortcuts},
        answers={},
    )


def count_equal(live: Float[np.ndarray, "examples classes"], replayed: Float[np.ndarray, "examples classes"]) -> int:
    """Count the live predictions that equal the replayed ones; scores of a regression may differ by rounding."""
    ours, theirs = predictions(live), predictions(replayed)
    equal = np.isclose(ours, theirs, rtol=1e-3, atol=1e-3) if live.shape[1] == 1 else ours == theirs
    return int(equal.sum())


class _Expected:
    """What each contender should answer to the main split, and the work that ours should do, from traces alone."""

    def __init__(self, traces: RunTraces, shortcuts: Sequence[Shortcut]) -> None:
        self._trace, self._all_off = traces.reported, traces.all_off[traces.main]
        self._shortcuts = {shortcut.name: shortcut.trace for shortcut in shortcuts}
        self.dense = self._all_off.costs.dense

    def logits(self, name: str, point: OperatingPoint | None) -> Float[np.ndarray, "examples classes"]:
        """Return the logits of an operating point, of a shortcut, else of the encoder with everything off."""
        if point is not None:
            return replay(self._trace, point).logits
        return self._shortcuts.get(name, self._all_off).full_depth

    def executed(self, name: str, point: OperatingPoint | None) -> Float[np.ndarray, " examples"] | None:
        """Return the FLOPs of each example; None for what is not ours or does all the work."""
        if point is not None:
            return replay(self._trace, point).flops(self._trace.costs)
        return self._shortcuts[name].costs.dense if name in self._shortcuts else None
