"""The one loop over depths, for training, evaluation, tracing, serving and streams alike."""

from __future__ import annotations

import dataclasses
from itertools import compress, islice

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from eat.exits import ExitCriterion
from eat.modules.embeddings import Embeddings
from eat.packed import AdaptiveOutput, Packed
from eat.pruners import Pruner


@dataclasses.dataclass(frozen=True, eq=False)
class Standing:
    """Sequences between two segments: before the first block, or at a head whose depth has not pruned them yet.

    Attributes:
        state: Their live rows.
        depth: Blocks behind them.
        history: What the heads behind them said; None before the first.
    """

    state: Packed
    depth: int = 0
    history: Float[Tensor, "heads batch classes"] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class AtHead:
    """Sequences at a head that has spoken, before anybody leaves.

    Attributes:
        state: Their live rows.
        depth: The head's depth.
        history: What all heads so far said.
        lengths: What each block of the segment worked on, in tokens per sequence.
    """

    state: Packed
    depth: int
    history: Float[Tensor, "heads batch classes"]
    lengths: list[tuple[int, ...]]

    @property
    def standing(self) -> Standing:
        """Where they stand if nobody leaves."""
        return Standing(self.state, self.depth, self.history)


@dataclasses.dataclass(frozen=True, eq=False)
class Reached:
    """Where a segment ended: at a head, where some leave and the others stay.

    Attributes:
        depth: The head's depth.
        history: What all heads so far said of everybody in the segment.
        example: ``Packed.example`` of everybody in the segment.
        lengths: What each block of the segment worked on, in tokens per sequence.
        leaving: ``Packed.example`` of those who leave.
        logits: Their answers.
        staying: The others; None where nobody stays.
    """

    depth: int
    history: Float[Tensor, "heads batch classes"]
    example: tuple[int, ...]
    lengths: list[tuple[int, ...]]
    leaving: tuple[int, ...]
    logits: Float[Tensor, "leaving classes"]
    staying: Standing | None


class AdaptiveEncoder(nn.Module):
    """Blocks over packed rows, in which tokens leave at a pruner's word and sequences at a criterion's.

    Args:
        embeddings: Tokens to rows.
        blocks: One per depth.
        heads: Depth -> head; the last depth always has one.
        pruner: Which tokens stay after a depth.
        exit_criterion: Which sequences leave after an early head.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        blocks: list[nn.Module],
        heads: dict[int, nn.Module],
        pruner: Pruner,
        exit_criterion: ExitCriterion,
    ) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.blocks = nn.ModuleList(blocks)
        self.heads = nn.ModuleDict({str(depth): head for depth, head in sorted(heads.items())})
        self.head_depths = tuple(sorted(heads))
        self.pruner = pruner
        self.exit_criterion = exit_criterion

    def forward(self, state: Packed, trace: bool, head_depths: tuple[int, ...] | None = None) -> AdaptiveOutput:
        """Run segment after segment until every sequence has left.

        Args:
            state: Embedded rows.
            trace: True runs every head and lets nobody leave early.
            head_depths: See ``advance``.
        """
        answers = _Answers(state, len(self.blocks))
        standing: Standing | None = Standing(state)
        while standing is not None:
            reached = self.advance(standing, trace, head_depths)
            answers.take(reached)
            standing = reached.staying
        return answers.output(reached.history if trace else None)

    def advance(self, standing: Standing, trace: bool, head_depths: tuple[int, ...] | None = None) -> Reached:
        """Run one segment and let leave who may.

        Args:
            standing: Where the sequences stand; not at the last head.
            trace: True runs every head and lets nobody leave early.
            head_depths: The only heads to run, in ascending order: the last of them takes everybody. Default: all that
                ``running_heads`` names.
        """
        head_depths = head_depths or self.running_heads(trace)
        here = self.to_head(standing, head_depths)
        parted: _Parted
        if here.depth == head_depths[-1]:
            parted = here.state.example, here.history[-1], None
        elif trace:
            parted = (), here.history[-1, :0], here.standing
        else:
            parted = _let_leave(here, self.exit_criterion(here.history))
        return Reached(here.depth, here.history, here.state.example, here.lengths, *parted)

    def to_head(self, standing: Standing, head_depths: tuple[int, ...]) -> AtHead:
        """Run the blocks up to the next head, and that head; nothing here waits for the device.

        Args:
            standing: Where the sequences stand; not at the last head.
            head_depths: The heads that run.
        """
        state, lengths = standing.state, []
        for depth, block in islice(enumerate(self.blocks), standing.depth, None):
            if depth in self.pruner.depths:
                after = self.pruner.lengths_after(state, depth)
                state = state.keep_tokens(self.pruner(state, depth), after)
            lengths.append(state.host_lengths)
            state = block(state, received=self.pruner.needs(depth + 1))
            if depth + 1 in head_depths:
                break
        depth = standing.depth + len(lengths)
        history = self.heads[str(depth)](state).unsqueeze(0)
        if standing.history is not None:
            history = torch.cat((standing.history, history))
        return AtHead(state, depth, history, lengths)

    def running_heads(self, trace: bool) -> tuple[int, ...]:
        """Return the depths whose heads run: the early ones only where somebody could leave or wants to see them."""
        return self.head_depths if trace or self.exit_criterion.active else self.head_depths[-1:]


_Parted = tuple[tuple[int, ...], Tensor, Standing | None]


def _let_leave(here: AtHead, leave: Bool[Tensor, " batch"]) -> _Parted:
    """Return who leaves, their answers and who stays; reads the mask once, the one synchronisation of an early head."""
    leaves, history = leave.tolist(), here.history
    if not any(leaves):
        return (), history[-1, :0], here.standing
    if all(leaves):
        return here.state.example, history[-1], None
    stay = ~leave
    staying = here.state.keep_sequences(stay, [not left for left in leaves])
    num_staying = len(staying.example)
    # Counts are known here, so that finding the indices does not wait for the device again.
    left = torch.nonzero_static(leave, size=len(leaves) - num_staying).squeeze(1)
    stayed = torch.nonzero_static(stay, size=num_staying).squeeze(1)
    return (
        tuple(compress(here.state.example, leaves)),
        history[-1].index_select(0, left),
        Standing(staying, here.depth, history.index_select(1, stayed)),
    )


class _Answers:
    """Collects each sequence's answer once, and how many tokens live after each depth; counts stay on the host."""

    def __init__(self, state: Packed, num_layers: int) -> None:
        batch = len(state.host_lengths)
        self.device = state.rows.device
        self.tokens_kept = np.zeros((batch, num_layers + 1), dtype=np.int64)
        self.exit_depth = np.zeros(batch, dtype=np.int64)
        self.logits: list[Tensor] = []
        self.examples: list[int] = []

    def take(self, reached: Reached) -> None:
        first = reached.depth - len(reached.lengths)
        self.tokens_kept[list(reached.example), first : reached.depth] = np.transpose(reached.lengths)
        if reached.leaving:
            self.logits.append(reached.logits)
            self.examples.extend(reached.leaving)
            self.exit_depth[list(reached.leaving)] = reached.depth

    def output(self, history: Float[Tensor, "heads batch classes"] | None) -> AdaptiveOutput:
        logits = self.logits[0]
        if len(self.logits) > 1:
            order = np.argsort(self.examples)
            logits = torch.cat(self.logits).index_select(0, torch.from_numpy(order).to(self.device, non_blocking=True))
        return AdaptiveOutput(
            logits=logits,
            exit_depth=torch.from_numpy(self.exit_depth).to(self.device, non_blocking=True),
            tokens_kept=torch.from_numpy(self.tokens_kept).to(self.device, non_blocking=True),
            all_logits=None if history is None else history.transpose(0, 1),
        )
