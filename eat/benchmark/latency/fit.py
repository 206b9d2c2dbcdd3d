"""Short measurements of the live model from which the time of every operating point is predicted."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eat.benchmark.contenders import ALL_OFF, PADDED
from eat.benchmark.engines import Call
from eat.benchmark.engines.hugging_face import hugging_face_call
from eat.benchmark.engines.packed import packed_call
from eat.benchmark.latency.model import WORK, LatencyModel, WorkCounter, fit_latency
from eat.benchmark.protocol import Timed
from eat.benchmark.stored import need, tuples
from eat.exits.confidence import ConfidenceExit
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.sharing import all_off, sharing_copy, variant
from eat.traces.replay import Replay, replay
from eat.traces.statistics import Interval, paired_ratio
from eat.traces.trace import Trace

MIXED_PROBES = 4
"""Real operating points among the probes at batch sizes above 1, where sequences part company."""


class ForcedExit:
    """Exit all sequences at one head; before it, work confidence out as a real criterion would."""

    active = True
    needs_classes = False
    needs_score = False

    def __init__(self, heads: int) -> None:
        self.heads = heads
        self._asked = ConfidenceExit(0.0)

    def __call__(self, history: Float[Tensor, "heads batch classes"]) -> Bool[Tensor, " batch"]:
        """Return True for all once so many heads have run."""
        return torch.full_like(self._asked(history), history.shape[0] >= self.heads)


@dataclasses.dataclass(frozen=True, eq=False)
class Probe:
    """A way to run the model whose time is measured, and the work that it does."""

    call: Call  # batch in, logits out
    run: Replay  # which text leaves where, in order
    depth: int | None = None  # where all leave, if that is forced


@dataclasses.dataclass(frozen=True)
class Fit:
    """What the short measurements gave; JSON values only."""

    rounds: int  # how often everything was measured
    baseline_ms: Mapping[str, float]  # mean time of a call of each baseline, in ms
    baseline_interval: Mapping[str, Interval]  # bootstrap 95 % interval over rounds and batches
    probe_ms: Mapping[str, tuple[float, float]]  # measured and fitted mean time of a call of each probe, in ms
    depth_ms: Mapping[int, float]  # mean time of a call when all leave at a depth, in ms
    microseconds: Mapping[str, float]  # fitted time of a piece of each kind of work
    error: float  # median relative difference between the fitted and the measured times of single calls

    def latency(self, counter: WorkCounter, batch_size: int) -> LatencyModel:
        """Return what predicts the time of calls from their work."""
        seconds = {name: 1e-6 * self.microseconds[name] for name in WORK}
        return LatencyModel(counter, batch_size, seconds, self.error)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Fit":
        """Read back what `dataclasses.asdict` gave, after JSON has turned tuples into lists and depths into text."""
        need("calibration.microseconds", values["microseconds"], WORK)
        return cls(**(tuples(values) | {"depth_ms": {int(d): ms for d, ms in values["depth_ms"].items()}}))


def build_probes(
    model: AdaptiveForSequenceClassification, trace: Trace, rows: Int[np.ndarray, " texts"], batch_size: int
) -> dict[str, Probe]:
    """List what is measured: no sequence leaves, all leave at each head, and mixed points where batches shrink."""
    full = replay(trace, FULL_DEPTH).take(rows)
    probes = {"never": Probe(operating_point_call(model, FULL_DEPTH), full)}
    if trace.is_regression:
        return probes
    for heads, depth in enumerate(trace.head_depths, start=1):
        forced = sharing_copy(model)
        forced.encoder.exit_criterion = ForcedExit(heads)
        probes[f"all leave at depth {depth}"] = Probe(packed_call(forced), _all_leave(full, depth), depth)
    if batch_size > 1:
        mixed = _mixed(trace, rows)
        probes |= {point.label: Probe(operating_point_call(model, point), run) for point, run in mixed}
    return probes


def baseline_calls(model: AdaptiveForSequenceClassification) -> dict[str, Call]:
    """Return what speed-ups are over: Hugging Face SDPA on padded batches, and our encoder with everything off."""
    theirs = hugging_face_call(model.to_hugging_face(), model.backbone.pad_token_id)
    return {PADDED: theirs, ALL_OFF: packed_call(all_off(model))}


def operating_point_call(model: AdaptiveForSequenceClassification, point: OperatingPoint) -> Call:
    """Answer batches at an operating point; the model itself is not changed."""
    return packed_call(variant(model, exit=point.spec))


def fit_probes(timed: Timed, probes: Mapping[str, Probe], counter: WorkCounter, batch_size: int) -> Fit:
    """Fit the probes' time to their work; what else was timed on the same batches is a baseline.

    The median of each call counts; baselines are paired with the probes of the same round, so that a machine that slows
    down for a while slows both.
    """
    texts = np.arange(timed.examples)
    work = {name: counter.count(probe.run.take(texts), batch_size) for name, probe in probes.items()}
    seconds = {name: np.median(timed.seconds[name], axis=0) for name in probes}
    latency = fit_latency(counter, batch_size, *(np.concatenate(list(of.values())) for of in (work, seconds)))
    fitted = {name: float(latency.of_work(counts).mean()) for name, counts in work.items()}
    of_probes, whole = np.sum([timed.seconds[name] for name in probes], axis=0), sum(fitted.values())
    ratios = {name: paired_ratio(times, of_probes) for name, times in timed.seconds.items() if name not in probes}
    scaled = {name: tuple(ratio * whole for ratio in found) for name, found in ratios.items()}
    probe_ms = {name: (float(1e3 * seconds[name].mean()), fitted[name]) for name in probes}
    return Fit(
        rounds=timed.rounds,
        baseline_ms={name: ms for name, (ms, _, _) in scaled.items()},
        baseline_interval={name: (low, high) for name, (_, low, high) in scaled.items()},
        probe_ms=probe_ms,
        depth_ms={probe.depth: probe_ms[name][0] for name, probe in probes.items() if probe.depth is not None},
        microseconds={name: 1e6 * value for name, value in latency.seconds.items()},
        error=latency.error,
    )


def _all_leave(full: Replay, depth: int) -> Replay:
    """Return what happens when all leave at a depth; the logits, which nothing here reads, stay."""
    columns = np.arange(full.tokens_kept.shape[1])
    kept = np.where(columns < depth, full.tokens_kept, 0)
    return Replay(full.logits, np.full_like(full.exit_depth, depth), kept, early_heads=True)


def _mixed(trace: Trace, rows: Int[np.ndarray, " texts"]) -> list[tuple[OperatingPoint, Replay]]:
    """Pick thresholds whose mean depths lie evenly between the first head and the last."""
    points = OperatingPoint.of({"name": "confidence"}).at((1 - np.geomspace(0.5, 1e-4, 60)).tolist())
    runs = [replay(trace, point).take(rows) for point in points]
    means = np.array([run.exit_depth.mean() for run in runs])
    wanted = np.linspace(trace.head_depths[0], trace.head_depths[-1], MIXED_PROBES + 2)[1:-1]
    chosen = sorted({int(np.abs(means - depth).argmin()) for depth in wanted})
    return [(points[i], runs[i]) for i in chosen]
