"""Count a model's FLOPs from its configuration and the tokens it kept; weights are not needed.

A multiplication and an addition count as two.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float64, Int64

from eat.attention import build_attention
from eat.attention.full import FullAttention
from eat.backbones import build_backbone
from eat.models.config import AdaptiveConfig
from eat.pruners import build_pruner


class CostModel:
    """FLOPs per example in closed form (the counterpart of EAT's eq. 4 and 5, with what was really executed).

    An example is counted as if it were alone in its batch: the little padding inside attention groups is left out.
    """

    def __init__(self, config: AdaptiveConfig) -> None:
        config.check()
        self.backbone = build_backbone(config.backbone or {})
        self.attention = build_attention(config.attention or {})
        self.attentions = self.backbone.attentions(self.attention)  # of each block
        self.pruner = build_pruner(config.pruner or {})
        self.head_depths = tuple(sorted((config.heads or {})["depths"]))
        self.num_labels = config.num_outputs

    def executed(
        self,
        tokens_kept: Int64[np.ndarray, "batch columns"],
        exit_depth: Int64[np.ndarray, " batch"],
        *,
        early_heads: bool,
        num_global: int | None = None,
    ) -> Float64[np.ndarray, " batch"]:
        """Count the FLOPs of the work executed for each example; arrays are those of `AdaptiveOutput`.

        Early heads run where the exit criterion can let a sequence exit. ``num_global`` counts the global tokens per
        example; default 1, and 2 where [SEP] is global.
        """
        num_global = num_global or len(self.attention.global_tokens)

        @cache
        def cost_of_block(depth: int, tokens: int, extent: int) -> int:
            pairs = self.attentions[depth - 1].pairs(tokens, extent, num_global)
            width = self.backbone.attention_width(depth)
            cost = block_flops(tokens, pairs, width, self.backbone.weights_at(depth))
            return cost + (received_flops(pairs, width) if self.pruner.needs(depth) else 0)

        total = self._embedding(tokens_kept[:, 0])
        for depth in range(1, self.backbone.num_layers + 1):
            for row in np.flatnonzero(exit_depth >= depth):
                total[row] += cost_of_block(depth, int(tokens_kept[row, depth - 1]), int(tokens_kept[row, 0]))
            if depth in self.head_depths and (early_heads or depth == self.head_depths[-1]):
                total += (exit_depth >= depth) * head_flops(self.backbone.dim, self.num_labels)
        return total

    def dense(self, lengths: Int64[np.ndarray, " batch"]) -> Float64[np.ndarray, " batch"]:
        """Count the FLOPs of unpadded, dense, unpruned full depth with the last head only.

        All pairs count in every block, also where a backbone's own layers are local: dense attention hides by a mask
        what they do not see.
        """
        shape, full = self.backbone, FullAttention()
        pairs = [(tokens, full.pairs(tokens, tokens, 1)) for tokens in lengths.tolist()]
        depths = range(1, shape.num_layers + 1)
        sizes = [(shape.attention_width(depth), shape.weights_at(depth)) for depth in depths]
        blocks = [sum(block_flops(*one, *size) for size in sizes) for one in pairs]
        head = head_flops(shape.dim, self.num_labels)
        return self._embedding(lengths) + np.array(blocks, float) + head

    def _embedding(self, lengths: Int64[np.ndarray, " batch"]) -> Float64[np.ndarray, " batch"]:
        width = self.backbone.embedding_size
        return np.zeros(len(lengths)) if width is None else lengths * (2.0 * width * self.backbone.dim)


def block_flops(tokens: int, pairs: int, width: int, weights: int) -> int:
    """Count the FLOPs of one encoder block.

    A token is multiplied with each of the ``weights`` of its matrices; Q K^T and the weighted sum of V per query-key
    pair, over the ``width`` of all heads. Element-wise work (norms, activations, softmax) is not counted, as in
    ``torch.utils.flop_counter``.
    """
    return 2 * tokens * weights + 4 * width * pairs


def received_flops(pairs: int, width: int) -> int:
    """Count the FLOPs of recomputing softmax(Q K^T), which the fused attention does not show."""
    return 2 * width * pairs


def head_flops(dim: int, num_labels: int) -> int:
    """Count the FLOPs of one exit head for one sequence: dense layer and classifier."""
    return 2 * dim * (dim + num_labels)
