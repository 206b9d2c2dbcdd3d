"""Executed work of every operating point of a trace, from the model's configuration alone: no weights needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from eat.models.config import AdaptiveConfig
from eat.models.cost import CostModel

if TYPE_CHECKING:
    from eat.traces.replay import Replay
    from eat.traces.trace import Trace


class Costs:
    """FLOPs per example of leaving at each head of a trace; an operating point only chooses among them."""

    # The trace's own annotations cannot be resolved while tests check types: the trace holds its costs.
    __no_type_check__ = True

    def __init__(self, trace: Trace) -> None:
        model = CostModel(AdaptiveConfig.from_dict(dict(trace.config)))
        kept = trace.tokens_kept.astype(np.int64)

        def leaving_at(depth: int, early_heads: bool) -> Float64[np.ndarray, " examples"]:
            return model.executed(kept, np.full(len(trace), depth, dtype=np.int64), early_heads=early_heads)

        self._head_depths = trace.head_depths
        self.by_head: Float64[np.ndarray, "examples heads"] = np.stack(
            [leaving_at(depth, True) for depth in trace.head_depths], axis=1
        )
        """Of leaving at each head, with all early heads before it run."""
        self.without_early_heads: Float64[np.ndarray, " examples"] = leaving_at(trace.num_layers, False)
        """Of full depth where early heads need not run."""
        self.dense: Float64[np.ndarray, " examples"] = model.dense(kept[:, 0])
        """Unpadded, full attention, no pruning, full depth, one head: what ``flops_ratio`` divides by."""

    def executed(self, replayed: Replay) -> Float64[np.ndarray, " examples"]:
        """Count the FLOPs executed for each example; early heads run only where the criterion can let one leave."""
        if not replayed.early_heads:
            return self.without_early_heads
        heads = np.searchsorted(self._head_depths, replayed.exit_depth)
        return np.take_along_axis(self.by_head, heads[:, None], axis=1)[:, 0]
