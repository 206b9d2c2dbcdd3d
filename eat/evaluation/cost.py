"""Executed work of every operating point of a trace, from the model's configuration alone: no weights needed."""

import numpy as np
from jaxtyping import Float64

from eat.evaluation.sweep import Replay
from eat.evaluation.trace import Trace
from eat.exits import ExitCriterion
from eat.models.config import AdaptiveConfig
from eat.models.cost import CostModel


class Costs:
    """FLOPs per example of leaving at each head; an operating point only chooses among them.

    Args:
        trace: Its metadata hold the model's ``config``.
    """

    def __init__(self, trace: Trace) -> None:
        model = CostModel(AdaptiveConfig.from_dict(dict(trace.metadata["config"])))
        kept = trace.tokens_kept.astype(np.int64)

        def leaving_at(depth: int, early_heads: bool) -> Float64[np.ndarray, " examples"]:
            return model.executed(kept, np.full(len(trace), depth, dtype=np.int64), early_heads=early_heads)

        self._by_depth = {depth: leaving_at(depth, True) for depth in trace.head_depths}
        self._without_early_heads = leaving_at(trace.num_layers, False)
        self.dense: Float64[np.ndarray, " examples"] = model.dense(kept[:, 0])
        """Unpadded, full attention, no pruning, full depth, one head: what ``flops_ratio`` divides by."""

    def executed(self, run: Replay, criterion: ExitCriterion) -> Float64[np.ndarray, " examples"]:
        """Count the FLOPs executed for each example; early heads run only where somebody could leave."""
        if not criterion.active:
            return self._without_early_heads
        executed = np.empty(len(run.exit_depth))
        for depth, flops in self._by_depth.items():
            there = run.exit_depth == depth
            executed[there] = flops[there]
        return executed
