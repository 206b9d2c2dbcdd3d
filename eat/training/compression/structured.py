"""Remove whole attention heads and feed-forward neurons, by scores that training learns."""

import dataclasses
from collections.abc import Iterator
from typing import cast

from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import parametrize

from eat.checks import number, whole_number
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.modules.block import Block
from eat.modules.linear import Linear
from eat.ops.sparsity import keep_largest, kept_count, straight_through
from eat.training.compression.gradual import GradualCompression, ScoredMask, mask_of


class GroupMask(ScoredMask):
    """A mask over groups of a weight's columns, each with one score."""

    def __init__(self, weight: Tensor, learning_rate: float, groups: int) -> None:
        super().__init__(weight.detach().new_zeros(groups), learning_rate)

    def forward(self, weight: Float[Tensor, "outputs inputs"]) -> Float[Tensor, "outputs inputs"]:
        """Return the weight with zeros in the columns of groups whose mask is False."""
        gate = straight_through(self.mask, self.scores)
        return weight * gate.repeat_interleave(weight.shape[1] // len(gate))


@dataclasses.dataclass(frozen=True)
class StructuredCompression(GradualCompression):
    """Movement pruning of heads and neurons (Lagunas et al. 2021, arXiv:2109.04838), which are removed in the end.

    While it trains, a head is the columns of the attention's output projection that read it, and a neuron is the column
    of the feed-forward's second matrix that reads it: W' = W * M(S) with one score S for each, and the gradient
    dL/dS = sum of dL/dW' * W over its columns, the first-order effect of the gate. The highest scores of each block
    stay, along the cubic schedule. In the end `AdaptiveForSequenceClassification.keep_in_blocks` takes their rows and
    columns out of all four matrices. Where we differ: Lagunas et al. prune blocks of 32 x 32 in the attention by a
    threshold and remove the heads that happen to be empty; here each block keeps the same shares, so that size and
    speed are known beforehand.

    Attributes:
        heads: Share of each block's attention heads that is kept, in (0, 1]; at least one head.
        neurons: Share of each block's feed-forward neurons that is kept, in (0, 1], rounded to a ``multiple``.
        multiple: What the number of neurons is a multiple of, which matrix products like: 16 or more.
        score_lr: Peak of the scores' learning rate, with the schedule of all others; they do not decay.
    """

    heads: float
    neurons: float
    multiple: int
    score_lr: float

    def __post_init__(self) -> None:
        super().__post_init__()
        number("compression.heads", self.heads, above=0, at_most=1)
        number("compression.neurons", self.neurons, above=0, at_most=1)
        whole_number("compression.multiple", self.multiple)
        number("compression.score_lr", self.score_lr, at_least=0)

    def attach(self, model: AdaptiveForSequenceClassification) -> None:
        """Put a mask on the columns that read heads and neurons."""
        reason = model.backbone.not_narrowed
        if reason is not None:
            raise ValueError(
                f"compression.name: 'structured' cannot narrow a {model.backbone.config_class.model_type} encoder: "
                f"{reason}; take another backbone, or movement"
            )
        if any(model.pruner.needs(depth) for depth in model.pruner.depths):
            raise ValueError(
                "compression.name: 'structured' removes heads, over which the pruner takes the mean of the attention "
                "that tokens receive: other tokens would be pruned then; take pruner=l2_norm"
            )
        for block in _blocks(model):
            self._neurons_of(block.inner_size)
            for layer, groups in ((block.mixed, block.num_heads), (cast(Linear, block.outer), block.inner_size)):
                parametrize.register_parametrization(layer, "weight", GroupMask(layer.weight, self.score_lr, groups))

    def _neurons_of(self, inner_size: int) -> int:
        """Return how many of so many neurons are kept in the end.

        Raises:
            ValueError: If the multiple nearest to the share is none, or all.
        """
        if self.neurons == 1:
            return inner_size
        kept = self.multiple * round(self.neurons * inner_size / self.multiple)
        if not 0 < kept < inner_size:
            raise ValueError(
                f"compression.multiple: expected a number of neurons of which a multiple is about {self.neurons:g} of "
                f"a block's {inner_size}, got {self.multiple}, which would keep {'none' if kept == 0 else 'all'}; take "
                "a smaller one"
            )
        return kept

    def update(self, model: AdaptiveForSequenceClassification, step: int, total_steps: int) -> None:
        """Mark what is kept at this step by the scores as they are."""
        for block in _blocks(model):
            for layer, groups, final in (
                (block.mixed, block.num_heads, kept_count(self.heads, block.num_heads)),
                (block.outer, block.inner_size, self._neurons_of(block.inner_size)),
            ):
                share = self.share_at(final / groups, step, total_steps)
                mask = mask_of(layer, GroupMask)
                mask.set(keep_largest(mask.scores, kept_count(share, groups)))

    def finish(self, model: AdaptiveForSequenceClassification) -> AdaptiveForSequenceClassification:
        """Take out of the matrices what the final masks hide."""
        self.update(model, 1, 1)
        kept: list[list[list[int]]] = [[], []]
        for block in _blocks(model):
            for layer, indices in zip((block.mixed, block.outer), kept, strict=True):
                indices.append(mask_of(layer, GroupMask).mask.nonzero().flatten().tolist())
                parametrize.remove_parametrizations(layer, "weight")
        model.keep_in_blocks(*kept)
        return model


def _blocks(model: AdaptiveForSequenceClassification) -> Iterator[Block]:
    for block in model.encoder.blocks:
        yield cast(Block, block)
