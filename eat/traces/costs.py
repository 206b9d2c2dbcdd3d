"""Executed work of every operating point of a trace, from the model's configuration alone: no weights needed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from eat.models.config import AdaptiveConfig
from eat.models.cost import CostModel


class Costs:
    """FLOPs per example of leaving at each head; an operating point only chooses among them.

    ``tokens_kept`` is that of each example where no sequence exits early, as in `eat.traces.trace.Trace`.
    """

    def __init__(
        self, config: Mapping[str, Any], tokens_kept: Int[np.ndarray, "examples columns"], head_depths: Sequence[int]
    ) -> None:
        model = CostModel(AdaptiveConfig.from_dict(dict(config)))
        kept = tokens_kept.astype(np.int64)

        def leaving_at(depth: int, early_heads: bool) -> Float64[np.ndarray, " examples"]:
            return model.executed(kept, np.full(len(kept), depth, dtype=np.int64), early_heads=early_heads)

        self._head_depths = head_depths
        self.by_head: Float64[np.ndarray, "examples heads"] = np.stack(
            [leaving_at(depth, True) for depth in head_depths], axis=1
        )
        """Of leaving at each head, with all early heads before it run."""
        self.without_early_heads: Float64[np.ndarray, " examples"] = leaving_at(head_depths[-1], False)
        """Of full depth where early heads need not run."""
        self.dense: Float64[np.ndarray, " examples"] = model.dense(kept[:, 0])
        """Unpadded, full attention, no pruning, full depth, one head: what ``flops_ratio`` divides by."""

    def executed(
        self, exit_depth: Int[np.ndarray, " examples"], *, early_heads: bool
    ) -> Float64[np.ndarray, " examples"]:
        """Count the FLOPs executed for each example; early heads run only where the criterion can let one leave."""
        if not early_heads:
            return self.without_early_heads
        heads = np.searchsorted(self._head_depths, exit_depth)
        return np.take_along_axis(self.by_head, heads[:, None], axis=1)[:, 0]
