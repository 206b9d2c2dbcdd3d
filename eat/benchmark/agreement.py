"""Live answers beside those with everything off and beside replayed ones, and the work saved on the timed examples."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eat.benchmark.contenders import ALL_OFF
from eat.benchmark.engines import EAT, ENGINES
from eat.benchmark.results import Benchmark, Comparison, Measurement, OwnQuality
from eat.benchmark.shortcuts import Shortcut, truncated_trace
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.traces.quality import Point, measure_point, predictions, same_answers
from eat.traces.replay import replay
from eat.traces.run_traces import RunTraces

log = logging.getLogger(__name__)

ROUNDING = {"float32": 1e-4, "tf32": 1e-2, "float16": 2e-2, "bfloat16": 1e-1}
"""How far two engines' logits of one model may lie apart, over the largest logit where that is above 1."""


def compare_with_all_off(
    answers: Mapping[str, Float[np.ndarray, "examples classes"]], rounding: float, multi_label: bool = False
) -> dict[str, Comparison]:
    """Set each contender's logits beside those of our encoder with everything off, which answered the same examples."""
    theirs = answers[ALL_OFF]
    tolerance = rounding * max(1.0, float(np.abs(theirs).max()))
    regression = theirs.shape[1] == 1
    best = np.sort(theirs, axis=1)
    if multi_label:
        near = np.abs(theirs).min(axis=1) <= tolerance
    else:
        near = np.zeros(len(theirs), dtype=bool) if regression else best[:, -1] - best[:, -2] <= 2 * tolerance
    said = predictions(theirs, multi_label)
    compared = {}
    for name, ours in answers.items():
        differ = np.zeros_like(near) if regression else ~same_answers(predictions(ours, multi_label), said)
        compared[name] = Comparison(
            examples=len(theirs),
            difference=float(np.abs(ours - theirs).max()),
            tolerance=tolerance,
            differ=int(differ.sum()),
            near_ties=int((differ & near).sum()),
        )
    return compared


def rounding_of(machine: Mapping[str, Any]) -> float:
    """Return the value of `ROUNDING` for the type of the weights and the machine that a measurement names."""
    dtype = str(machine["dtype"])
    return ROUNDING["tf32" if dtype == "float32" and machine.get("tf32") else dtype]


def warn_of_others(compared: Mapping[str, Comparison]) -> None:
    """Warn of exact engines whose answers are not those of our encoder with everything off."""
    for name, found in compared.items():
        if name in ENGINES and ENGINES[name].exact and not found.same:
            log.warning("%s is another model than ours with everything off: %s", name, comparison_text(found))


def another_model(benchmark: Benchmark, measured: Measurement, reads: str) -> str | None:
    """Say why a baseline that should compute our function with everything off is another model; None where it is ours.

    Benchmarks of older versions compared no logits. They exported every model as one that reads [CLS], so that it is
    another one where the last head ``reads`` the mean.
    """
    name = measured.contender
    if measured.engine == EAT or measured.exit is not None or not ENGINES[measured.engine].exact:
        return None
    found = benchmark.beside_all_off.get(name)
    if found is not None:
        return None if found.same else f"another model: {comparison_text(found)}"
    if reads != "cls":
        return f"another model: it read [CLS], this one's last head reads the {reads}; run stages=[benchmark] again"
    same, total = benchmark.agreement.get(name, (0, 0))
    return None if same == total else f"another model: {total - same} of {total} labels differ"


def comparison_text(found: Comparison) -> str:
    """Say how far logits lie apart at most, and how many labels differ."""
    ties = f" ({found.near_ties} near-ties)" if found.near_ties else ""
    return f"logits within {found.difference:.1g}, {found.differ} of {found.examples} labels differ{ties}"


def compare_with_replay(
    benchmark: Benchmark,
    traces: RunTraces,
    index: Int[np.ndarray, " drawn"],
    shortcuts: Sequence[Shortcut] = (),
    served: Mapping[str, RunTraces] = MappingProxyType({}),
) -> Benchmark:
    """Set what was answered live beside what was replayed: at operating points on the traces of the same engine.

    ``served`` are the traces of engines other than eat's own, by name. ``answers`` go; ``agreement``, ``quality``,
    ``shortcuts`` and, in each measurement of ours but the encoder with everything off, ``flops_ratio`` over that one
    come.
    """
    all_off = traces.all_off[traces.main]
    dense = all_off.costs.dense
    shallow = {shortcut.name: shortcut.trace for shortcut in shortcuts}
    points = {one.contender: (one.exit, served.get(one.engine, traces)) for one in benchmark.measurements if one.exit}
    runs = {name: replay(own.reported, point) for name, (point, own) in points.items()}
    executed = {name: short.costs.dense for name, short in shallow.items()}
    executed |= {name: run.flops(points[name][1].reported.costs) for name, run in runs.items()}
    agreement = {}
    for name, answers in benchmark.answers.items():
        rows = index[: len(answers)]
        expected = runs[name].logits if name in runs else shallow.get(name, all_off).full_depth
        agreement[name] = (count_equal(np.asarray(answers), expected[rows], all_off.multi_label), len(rows))
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
        quality={name: _own_quality(logits, traces) for name, logits in benchmark.on_whole.items()}
        | {name: _quality_at(point, own, traces) for name, (point, own) in points.items() if own is not traces},
        answers={},
        on_whole={},
    )


def _own_quality(logits: Float[np.ndarray, "examples classes"], traces: RunTraces) -> OwnQuality:
    """Measure an engine's own answers to the main split."""
    dense = traces.all_off[traces.main]
    own = truncated_trace(dense, dense.num_layers)
    own = dataclasses.replace(own, all_logits=logits[:, None].astype(own.all_logits.dtype))
    point = measure_point(own, FULL_DEPTH, traces.reported.full_depth)
    return _quality(point)


def _quality_at(exit: OperatingPoint, own: RunTraces, traces: RunTraces) -> OwnQuality:
    """Measure an operating point on the traces of the engine that serves it, beside the full depth of eat's own."""
    trace = own.same_examples(traces.main, traces.reported, "engine")
    point = measure_point(trace, exit, traces.reported.full_depth)
    cost = {name: getattr(point, name) for name in ("avg_depth", "retention", "gflops", "flops_ratio")}
    return dataclasses.replace(_quality(point), **cost)


def _quality(point: Point) -> OwnQuality:
    delta = point.delta
    return OwnQuality(point.metrics, None if delta is None else (delta.points, delta.low, delta.high), point.ece)


def count_equal(
    live: Float[np.ndarray, "examples classes"],
    replayed: Float[np.ndarray, "examples classes"],
    multi_label: bool = False,
) -> int:
    """Count the live predictions that equal the replayed ones; scores of a regression may differ by rounding."""
    ours, theirs = predictions(live, multi_label), predictions(replayed, multi_label)
    equal = np.isclose(ours, theirs, rtol=1e-3, atol=1e-3) if live.shape[1] == 1 else same_answers(ours, theirs)
    return int(equal.sum())
