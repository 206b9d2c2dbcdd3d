"""Operating points that a plan chooses among: quality on held-out texts, predicted cost, and the choice."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from eat.benchmark.latency.model import LatencyModel
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.traces.quality import metric_values
from eat.traces.sweeps import candidate_points
from eat.traces.trace import Trace


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An operating point with what is known of it before it is measured."""

    exit: OperatingPoint
    value: float  # the primary metric on the threshold split
    latency_ms: float  # predicted mean time of a call
    latency_ms_p50: float  # predicted median over calls
    latency_ms_p95: float  # predicted 95th percentile over calls
    speedup: float  # predicted, over Hugging Face SDPA on padded batches of the same size

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; an undefined metric is None."""
        return vars(self) | {"exit": self.exit.spec, "value": None if math.isnan(self.value) else self.value}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Candidate":
        """Read back what `to_json` gave."""
        value = math.nan if values["value"] is None else values["value"]
        return cls(**(dict(values) | {"exit": OperatingPoint.of(values["exit"]), "value": value}))


def predict_candidates(
    trace: Trace, rows: Int[np.ndarray, " texts"], latency: LatencyModel, baseline_ms: float
) -> tuple[Candidate, ...]:
    """Say of every operating point what it is worth on a whole split, and what it will cost on some of its texts.

    Calls are made of ``rows`` in that order; ``baseline_ms`` is the mean time of one of Hugging Face SDPA, padded.
    """
    metric = trace.task.metrics[0]
    candidates = []
    for point, run in candidate_points(trace):
        ms = latency.predict_ms(run.take(rows))
        candidates.append(
            Candidate(
                exit=point,
                value=metric_values(trace.task, trace.labels, run.logits)[metric],
                latency_ms=float(ms.mean()),
                latency_ms_p50=float(np.percentile(ms, 50)),
                latency_ms_p95=float(np.percentile(ms, 95)),
                speedup=baseline_ms / float(ms.mean()),
            )
        )
    return tuple(candidates)


def choose(
    candidates: Sequence[Candidate], *, latency_ms: int | float | None = None, speedup: int | float | None = None
) -> Candidate:
    """Pick the most accurate candidate that fits one budget; of equally accurate ones the fastest.

    The budget is the longest mean time of a call, or the smallest speed-up over Hugging Face SDPA on padded batches.

    Raises:
        ValueError: If none fits; the message names the fastest and what it would cost.
    """
    fitting = [
        c
        for c in candidates
        if (latency_ms is None or c.latency_ms <= latency_ms) and (speedup is None or c.speedup >= speedup)
    ]
    if fitting:
        return max(fitting, key=lambda c: (-math.inf if math.isnan(c.value) else c.value, -c.latency_ms))
    fastest = min(candidates, key=lambda c: c.latency_ms)
    full = next(c for c in candidates if c.exit == FULL_DEPTH)
    budget = f"plan.latency_ms={latency_ms:g}" if latency_ms is not None else f"plan.speedup={speedup:g}"
    raise ValueError(
        f"{budget}: no operating point is predicted to be that fast. The fastest, {fastest.exit.label}, needs "
        f"{fastest.latency_ms:.2f} ms per call ({fastest.speedup:.2f}x Hugging Face SDPA, padded) and costs "
        f"{100 * (full.value - fastest.value):.2f} points on the threshold split ({fastest.value:.4f} instead of "
        f"{full.value:.4f} at full depth); ask for no more than that, or train with an earlier head or more pruning"
    )
