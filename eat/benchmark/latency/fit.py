"""Short measurements of the live model from which the time of every operating point is predicted."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eat.benchmark.clock import Call, time_rounds
from eat.benchmark.contenders import ALL_OFF, PADDED, Encoded, hugging_face_call, packed_call
from eat.benchmark.latency.model import LatencyModel, WorkCounter, fit_latency
from eat.exits.confidence import ConfidenceExit
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.sharing import all_off, sharing_copy
from eat.traces.replay import Replay, replay
from eat.traces.statistics import Interval, median_interval
from eat.traces.trace import Trace

MIXED_PROBES = 4
"""Real operating points among the probes at batch sizes above 1, where sequences part company."""


class ForcedExit:
    """Everybody leaves at one head; before it, confidence is worked out as a real criterion would.

    Args:
        heads: Heads that run until everybody leaves.
    """

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
    """A way to run the model whose time is measured, and the work that it does.

    Attributes:
        call: Batch in, logits out.
        run: Who leaves where, for the texts in order.
        depth: Where everybody leaves, if that is forced.
    """

    call: Call
    run: Replay
    depth: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """What the short measurements gave.

    Attributes:
        latency: The fitted model.
        baseline_ms: Mean time of a call of each baseline, in ms.
        baseline_interval: Its bootstrap 95 % interval over the rounds: how much the machine wavers.
        probe_ms: Measured and fitted mean time of a call of each probe, in ms.
        depth_ms: Measured mean time of a call when everybody leaves at a depth, in ms; differences are the layers'.
    """

    latency: LatencyModel
    baseline_ms: Mapping[str, float]
    baseline_interval: Mapping[str, Interval]
    probe_ms: Mapping[str, tuple[float, float]]
    depth_ms: Mapping[int, float]

    def as_json(self) -> dict[str, Any]:
        """Return the measurements, and the fitted time of each kind of work in microseconds, as JSON values."""
        return {
            "baseline_ms": dict(self.baseline_ms),
            "baseline_interval": {name: list(ends) for name, ends in self.baseline_interval.items()},
            "probe_ms": {name: list(pair) for name, pair in self.probe_ms.items()},
            "depth_ms": {str(depth): ms for depth, ms in self.depth_ms.items()},
            "microseconds": {name: 1e6 * seconds for name, seconds in self.latency.seconds.items()},
            "error": self.latency.error,
        }


def build_probes(
    model: AdaptiveForSequenceClassification, trace: Trace, rows: Int[np.ndarray, " texts"], batch_size: int
) -> dict[str, Probe]:
    """List what is measured: everybody leaves at each head, nobody leaves, and mixed points where batches shrink.

    Args:
        model: The model; it is not changed.
        trace: The split that the texts are from.
        rows: The texts, in the order in which they are answered.
        batch_size: Of each call.
    """
    full = replay(trace, FULL_DEPTH).take(rows)
    probes = {"never": Probe(operating_point_call(model, FULL_DEPTH), full)}
    if trace.is_regression:
        return probes
    for heads, depth in enumerate(trace.head_depths, start=1):
        variant = sharing_copy(model)
        variant.encoder.exit_criterion = ForcedExit(heads)
        probes[f"all leave at depth {depth}"] = Probe(packed_call(variant), _all_leave(full, depth), depth)
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
    variant = sharing_copy(model)
    variant.set_exit(**point.spec)
    return packed_call(variant)


def calibrate(
    baselines: Mapping[str, Call],
    probes: Mapping[str, Probe],
    counter: WorkCounter,
    batches: Sequence[Sequence[Encoded]],
    *,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Calibration:
    """Time baselines and probes in turns on the same batches, and fit the probes' time to their work.

    Args:
        baselines: Calls of the baselines, warmed up.
        probes: The probes, warmed up.
        counter: Counts the work of the model.
        batches: The texts, as many in each batch.
        rounds: How often everything is repeated; the median of each call counts. Baselines are paired with the probes
            of the same round, so that a machine that slows down for a while slows both.
        clock: Seconds, monotonic; tests give their own.
    """
    batch_size = len(batches[0])
    calls = {**baselines, **{name: probe.call for name, probe in probes.items()}}
    measured = time_rounds(
        calls, dict.fromkeys(calls, batches), rounds=rounds, block=max(1, 16 // batch_size), clock=clock
    )
    texts = np.arange(sum(len(batch) for batch in batches))
    work = {name: counter.count(probe.run.take(texts), batch_size) for name, probe in probes.items()}
    seconds = {name: np.median(measured[name], axis=0) for name in probes}
    latency = fit_latency(
        counter, batch_size, np.concatenate(list(work.values())), np.concatenate(list(seconds.values()))
    )
    fitted = {name: float(latency.of_work(counts).mean()) for name, counts in work.items()}
    of_probes = sum(measured[name].sum(axis=1) for name in probes)  # in each round: what baselines are paired with
    scaled = {name: measured[name].sum(axis=1) / of_probes * sum(fitted.values()) for name in baselines}
    return Calibration(
        latency=latency,
        baseline_ms={name: float(np.median(ms)) for name, ms in scaled.items()},
        baseline_interval={name: median_interval(ms) for name, ms in scaled.items()},
        probe_ms={name: (float(1e3 * seconds[name].mean()), fitted[name]) for name in probes},
        depth_ms={
            probe.depth: float(1e3 * seconds[name].mean()) for name, probe in probes.items() if probe.depth is not None
        },
    )


def _all_leave(full: Replay, depth: int) -> Replay:
    """Return what happens when everybody leaves at a depth; the logits, which nothing here reads, stay."""
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
