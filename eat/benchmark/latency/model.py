"""What a call takes on one machine, from the work that it does: a few coefficients fitted to short measurements.

Every block of an encoder has the same shape, so a call's time is a sum of like pieces: blocks, heads and prunings that
ran, and the tokens, attention pairs and sequences that went through them. All of these follow from a replay, which
makes the time of any operating point as cheap to know as its quality.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from scipy.optimize import nnls

from eat.attention import Attention
from eat.models.config import AdaptiveConfig
from eat.models.cost import CostModel
from eat.traces.replay import Replay

WORK = (
    *("calls", "sequences", "tokens"),
    *("blocks", "block_tokens", "block_pairs"),
    *("heads", "head_sequences"),
    *("departures", "departure_tokens"),
    *("prunings", "pruning_tokens"),
)
"""What time is spent on. Departures: heads at which some sequences left and others stayed, and the tokens before."""

REWEIGHTINGS = 4
"""Fits in a row: differences count relative to the time that the fit before gave. Relative to the measured time, calls
that noise made slow would count least, and every prediction would come out too low."""


class WorkCounter:
    """Counts the pieces of work in each call of an operating point."""

    def __init__(self, config: AdaptiveConfig) -> None:
        cost = CostModel(config)
        self._attentions = cost.attentions
        self._num_global = len(cost.attention.global_tokens)
        self._pruner_depths = cost.pruner.depths
        self._head_depths = cost.head_depths

    def count(self, run: Replay, batch_size: int) -> Float64[np.ndarray, "calls work"]:
        """Count the work of each call, in the order of `WORK`."""
        starts = np.arange(0, len(run.exit_depth), batch_size)

        def in_call(values: np.ndarray) -> Float64[np.ndarray, " calls"]:
            return np.add.reduceat(values.astype(np.float64), starts)

        def any_in_call(mask: Bool[np.ndarray, " examples"]) -> Float64[np.ndarray, " calls"]:
            return np.logical_or.reduceat(mask, starts).astype(np.float64)

        work = {name: np.zeros(len(starts)) for name in WORK}
        work["calls"] += 1.0
        work["sequences"] += in_call(np.ones(len(run.exit_depth)))
        work["tokens"] += in_call(run.tokens_kept[:, 0])
        pairs = {attention: self._pairs(attention, run.tokens_kept) for attention in set(self._attentions)}
        last = self._head_depths[-1]
        for depth in range(1, last + 1):
            tokens, alive, stays = run.tokens_kept[:, depth - 1], run.exit_depth >= depth, run.exit_depth > depth
            work["blocks"] += any_in_call(alive)
            work["block_tokens"] += in_call(tokens)
            work["block_pairs"] += in_call(pairs[self._attentions[depth - 1]][:, depth - 1])
            if depth in self._head_depths and (run.early_heads or depth == last):
                work["heads"] += any_in_call(alive)
                work["head_sequences"] += in_call(alive)
                parted = any_in_call(alive & ~stays) * any_in_call(stays)
                work["departures"] += parted
                work["departure_tokens"] += parted * in_call(tokens)
            if depth in self._pruner_depths:
                work["prunings"] += any_in_call(stays)
                work["pruning_tokens"] += in_call(tokens * stays)
        return np.stack([work[name] for name in WORK], axis=1)

    def _pairs(
        self, attention: Attention, tokens_kept: Int[np.ndarray, "examples columns"]
    ) -> Float64[np.ndarray, "examples columns"]:
        """Count the attention pairs of each example in each block, each combination of lengths once."""
        extent = np.broadcast_to(tokens_kept[:, :1], tokens_kept.shape)
        lengths, where = np.unique(np.stack([tokens_kept, extent], axis=-1).reshape(-1, 2), axis=0, return_inverse=True)
        pairs = [attention.pairs(int(n), int(came), self._num_global) if n else 0 for n, came in lengths]
        return np.asarray(pairs, dtype=np.float64)[where.reshape(-1)].reshape(tokens_kept.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class LatencyModel:
    """The time of a call on the machine, at the batch size and with the threads that it was fitted for."""

    counter: WorkCounter  # counts the work
    batch_size: int  # sequences in a call
    seconds: Mapping[str, float]  # what one piece of each kind of work takes, none below 0
    error: float  # median relative difference between the fitted and the measured times of single calls

    def predict_ms(self, run: Replay) -> Float64[np.ndarray, " calls"]:
        """Predict the time of each call of an operating point, in ms."""
        return self.of_work(self.counter.count(run, self.batch_size))

    def of_work(self, work: Float64[np.ndarray, "calls work"]) -> Float64[np.ndarray, " calls"]:
        """Predict the time of calls whose work was counted, in ms."""
        return 1e3 * work @ np.array([self.seconds[name] for name in WORK])


def fit_latency(
    counter: WorkCounter,
    batch_size: int,
    work: Float[np.ndarray, "measured work"],
    seconds: Float[np.ndarray, " measured"],
) -> LatencyModel:
    """Fit the time of each kind of work, in the order of `WORK`, to the time that calls took, above 0.

    By non-negative least squares on relative differences.
    """
    if len(seconds) == 0 or not (seconds > 0).all():
        raise ValueError(f"seconds must hold times above 0, got {len(seconds)} with minimum {min(seconds, default=0)}")
    weight = np.full(len(seconds), float(seconds.mean()))
    for _ in range(REWEIGHTINGS):
        relative = work / weight[:, None]
        scale = np.maximum(relative.max(axis=0), np.finfo(float).tiny)
        solution, _ = nnls(relative / scale, seconds / weight)
        coefficients = solution / scale
        weight = np.maximum(work @ coefficients, np.finfo(float).tiny)
    error = float(np.median(np.abs(work @ coefficients / seconds - 1)))
    return LatencyModel(counter, batch_size, dict(zip(WORK, coefficients.tolist(), strict=True)), error)
