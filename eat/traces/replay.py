"""Replay an operating point on a trace: who leaves where, with which answer, by the code that decides live."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from eat.exits import ExitCriterion, check_exit
from eat.exits.points import OperatingPoint
from eat.traces.costs import Costs
from eat.traces.trace import Trace


@dataclasses.dataclass(frozen=True, eq=False)
class Replay:
    """What the live encoder would have answered at one operating point."""

    logits: Float[np.ndarray, "examples classes"]  # logits of the exit taken
    exit_depth: Int[np.ndarray, " examples"]  # depth at which each example leaves
    tokens_kept: Int[np.ndarray, "examples columns"]  # alive after each depth, 0 from the exit on; block d reads d - 1
    early_heads: bool  # whether early heads run: they do where the criterion can let a sequence leave

    @property
    def retention(self) -> Float[np.ndarray, " examples"]:
        """Tokens that the last executed block worked on / tokens that came in."""
        last = np.take_along_axis(self.tokens_kept, self.exit_depth[:, None] - 1, axis=1)[:, 0]
        return last / self.tokens_kept[:, 0]

    def flops(self, costs: Costs) -> Float[np.ndarray, " examples"]:
        """Return the FLOPs executed for each example, given the costs of its trace."""
        return costs.executed(self.exit_depth, early_heads=self.early_heads)

    def take(self, rows: Sequence[int] | Int[np.ndarray, " rows"]) -> Replay:
        """Return some of the examples, in the order given."""
        return Replay(self.logits[rows], self.exit_depth[rows], self.tokens_kept[rows], self.early_heads)


def replay(trace: Trace, point: OperatingPoint) -> Replay:
    """Apply an operating point, which must suit what the model predicts, as the encoder applies it live."""
    criterion = point.build()
    head_index = exit_head(trace, criterion)
    exit_depth = np.asarray(trace.head_depths)[head_index]
    columns = np.arange(trace.num_layers + 1)
    return Replay(
        logits=trace.all_logits[np.arange(len(trace)), head_index],
        exit_depth=exit_depth,
        tokens_kept=np.where(columns < exit_depth[:, None], trace.tokens_kept, 0),
        early_heads=criterion.active,
    )


def exit_head(trace: Trace, criterion: ExitCriterion) -> Int[np.ndarray, " examples"]:
    """Return at which head (0 for the first) each example leaves; the last head takes all that are left."""
    check_exit(criterion, trace.all_logits.shape[2], trace.multi_label)
    history = trace.exit_history
    heads = torch.full((len(trace),), len(trace.head_depths) - 1)
    for head in reversed(range(len(trace.head_depths) - 1)):  # the earliest head that lets an example go wins
        heads[criterion(history[: head + 1])] = head
    return heads.numpy()
