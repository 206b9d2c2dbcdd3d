"""Where a model may be tapped, and how much work a text saves by exiting there."""

from typing import cast

import numpy as np

from eat.evaluation.rules.choose import Saved
from eat.exits.points import OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.cost import CostModel
from eat.models.rules import EMBEDDINGS, Tap
from eat.modules.block import Block
from eat.traces.trace import Trace


def taps_before(head_depths: tuple[int, ...], exit: OperatingPoint, max_depth: int | None) -> list[Tap]:
    """List the taps before the block of the first head that runs at an operating point, up to a depth."""
    blocks = (head_depths[0] if exit.build().active else head_depths[-1]) - 1
    blocks = blocks if max_depth is None else min(blocks, max_depth)
    return [EMBEDDINGS, *(Tap(depth, place) for depth in range(1, blocks + 1) for place in ("attention", "block"))]


def saved_work(model: AdaptiveForSequenceClassification, trace: Trace, taps: list[Tap]) -> Saved:
    """Count what each text of a trace saves by exiting at a tap, instead of at full depth, over full depth's mean."""
    cost, kept = CostModel(model.config), trace.tokens_kept.astype(np.int64)

    def executed(depth: int) -> np.ndarray:
        return cost.executed(kept, np.full(len(kept), depth), early_heads=False)

    full = executed(model.num_layers)
    saved = {}
    for tap in taps:
        done = executed(tap.depth)
        if tap.place == "attention":  # the feed-forward of its block is saved as well
            block = cast(Block, model.encoder.blocks[tap.depth - 1])
            weights = model.backbone.weights_at(tap.depth) - block.qkv.weight.numel() - block.mixed.weight.numel()
            done = done - 2.0 * weights * kept[:, tap.depth - 1]
        saved[tap] = (full - done) / full.mean()
    return saved
