"""Live answers beside replayed ones, and the work that was saved on just the examples that were timed."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from eat.benchmark.results import Benchmark
from eat.benchmark.shortcuts import Shortcut
from eat.traces.quality import predictions
from eat.traces.replay import replay
from eat.traces.run_traces import RunTraces


def compare_with_replay(
    benchmark: Benchmark, traces: RunTraces, index: Int[np.ndarray, " drawn"], shortcuts: Sequence[Shortcut] = ()
) -> Benchmark:
    """Set what was answered live beside what was replayed.

    ``answers`` go; ``agreement``, ``shortcuts`` and, in each measurement of ours but the encoder with everything off,
    ``flops_ratio`` over that one come.
    """
    trace, all_off = traces.reported, traces.all_off[traces.main]
    dense = all_off.costs.dense
    shallow = {shortcut.name: shortcut.trace for shortcut in shortcuts}
    runs = {name: replay(trace, point) for name, point in benchmark.points().items() if point is not None}
    executed = {name: short.costs.dense for name, short in shallow.items()}
    executed |= {name: run.flops(trace.costs) for name, run in runs.items()}
    agreement = {}
    for name, answers in benchmark.answers.items():
        rows = index[: len(answers)]
        expected = runs[name].logits if name in runs else shallow.get(name, all_off).full_depth
        agreement[name] = (count_equal(np.asarray(answers), expected[rows]), len(rows))
    measurements = []
    for one in benchmark.measurements:
        work, rows = executed.get(one.contender), index[: one.examples]
        ratio = None if work is None else float(work[rows].sum() / dense[rows].sum())
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
