"""The one loop over depths, for training, evaluation, tracing, serving and streams alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import compress, islice
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from eat.checks import plain
from eat.exits import ExitCriterion
from eat.models.rules import EMBEDDINGS, Rules, Tap
from eat.modules.block import Block
from eat.modules.embeddings import Embeddings
from eat.modules.heads import Heads
from eat.ops.confidence import sets_as_classes
from eat.packed import AdaptiveOutput, Packed, true_indices
from eat.pruners import Pruner


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentStart:
    """State before a segment: before the first block, or after an early exit and before that depth's pruning."""

    state: Packed
    depth: int = 0  # blocks that have run
    history: Float[Tensor, "heads batch classes"] | None = None  # logits of the heads that have; None before the first


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentEnd:
    """State after a head's logits are known and before the exit criterion is applied."""

    state: Packed
    depth: int
    history: Float[Tensor, "heads batch classes"]  # logits of all heads so far
    lengths: list[tuple[int, ...]]  # live tokens of each sequence, in each block of the segment

    @property
    def next_start(self) -> SegmentStart:
        """Start of the next segment where no sequence exits."""
        return SegmentStart(self.state, self.depth, self.history)


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentExit:
    """What the exit criterion makes of a segment's end: some sequences exit, the others go on.

    ``history``, ``example`` (as in `Packed`) and ``lengths`` are about every sequence of the segment.
    """

    depth: int
    history: Float[Tensor, "heads batch classes"]
    example: tuple[int, ...]
    lengths: list[tuple[int, ...]]
    leaving: tuple[int, ...]  # the examples that exit
    logits: Float[Tensor, "leaving classes"]  # their answers
    staying: SegmentStart | None  # the other sequences; None where there are none


Visit = Callable[[Tap, Packed], Packed | None]
"""Is shown the rows at a tap and returns those that go on; None where no sequence does."""


class AdaptiveEncoder(nn.Module):
    """Encoder blocks, one per depth, over packed rows: tokens are pruned between blocks, and sequences exit at heads.

    The last depth always has a head. Where blocks leave rows as they grew (pre-norm), one ``norm`` stands before all
    heads, as in CALM (Schuster et al. 2022) and LayerSkip (Elhoushi et al. 2024). ``multi_label``: each output of a
    head is a label of its own, and a sequence exits where the criterion is content with the least sure of them.
    """

    gradient_checkpointing = False  # Hugging Face's models set this, and the function, on every module that has it
    _gradient_checkpointing_func: Callable[..., tuple[Tensor, Tensor | None]]

    def __init__(
        self,
        embeddings: Embeddings,
        blocks: nn.ModuleList,
        heads: dict[int, nn.Module],
        pruner: Pruner,
        exit_criterion: ExitCriterion,
        norm: nn.Module | None = None,
        multi_label: bool = False,
    ) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.blocks = blocks
        self.norm = norm
        self.heads = Heads(heads)
        self.head_depths = tuple(sorted(heads))
        self.pruner = pruner
        self.exit_criterion = exit_criterion
        self.multi_label = multi_label
        self.rules: Rules | None = None

    def forward(self, state: Packed, trace: bool, head_depths: tuple[int, ...] | None = None) -> AdaptiveOutput:
        """Let sequences exit by the rules, then run segment after segment, as `advance` does, until all have exited.

        A traced pass has no rules: every sequence is to reach every head.
        """
        answers = _Answers(state, len(self.blocks))
        start: SegmentStart | None = SegmentStart(state)
        if self.rules is not None and not trace and head_depths is None:
            left = self.walk(state, answers.leaving_by(self.rules), self.rules.last.depth)
            start = None if left is None else SegmentStart(left, self.rules.last.depth)
        history: Tensor | None = None
        while start is not None:
            ended = self.advance(start, trace, head_depths)
            answers.take(ended)
            start, history = ended.staying, ended.history
        return answers.output(history if trace else None)

    def walk(self, state: Packed, visit: Visit, last: int) -> Packed | None:
        """Run the blocks up to depth ``last`` for inference, and show ``visit`` the rows at every tap on the way.

        What it returns goes on; returns the rows after that block, or None where all sequences are gone before.
        """
        at = visit(EMBEDDINGS, state)
        for depth, block in islice(enumerate(self.blocks, start=1), last):
            block = cast(Block, block)
            if at is not None:
                attended = block.attended(self._pruned(at, depth - 1), received=self.pruner.needs(depth))
                at = visit(Tap(depth, "attention"), attended)
            if at is not None:
                at = visit(Tap(depth, "block"), block.fed_forward(at))
        return at

    def _pruned(self, state: Packed, depth: int) -> Packed:
        """Prune tokens after so many blocks, where the pruner does."""
        if depth not in self.pruner.depths:
            return state
        return state.keep_tokens(self.pruner(state, depth), self.pruner.lengths_after(state, depth))

    def advance(self, start: SegmentStart, trace: bool, head_depths: tuple[int, ...] | None = None) -> SegmentExit:
        """Run one segment, which does not start at the last head, and apply the exit criterion at its head.

        ``trace`` runs every head and lets no sequence exit early. ``head_depths`` are the only heads to run, in
        ascending order: every sequence exits at the last of them. Default: all that `running_heads` names.
        """
        head_depths = head_depths or self.running_heads(trace)
        end = self.to_head(start, head_depths)
        parted: _Parted
        if end.depth == head_depths[-1]:
            parted = end.state.example, end.history[-1], None
        elif trace:
            parted = (), end.history[-1, :0], end.next_start
        else:
            parted = _part(end, self.leaving(end.history))
        return SegmentExit(end.depth, end.history, end.state.example, end.lengths, *parted)

    def leaving(self, history: Float[Tensor, "heads batch classes"]) -> Bool[Tensor, " batch"]:
        """Return True where a sequence exits after the last head of the history."""
        return self.exit_criterion(sets_as_classes(history) if self.multi_label else history)

    def to_head(self, start: SegmentStart, head_depths: tuple[int, ...]) -> SegmentEnd:
        """Run the blocks up to the next of the heads, and that head; nothing here waits for the device."""
        state, lengths = start.state, []
        for depth, block in islice(enumerate(self.blocks), start.depth, None):
            state = self._pruned(state, depth)
            lengths.append(state.host_lengths)
            state = self._run(block, state, received=self.pruner.needs(depth + 1))
            if depth + 1 in head_depths:
                break
        depth = start.depth + len(lengths)
        history = self.heads(self.read_by_heads(state), depth).unsqueeze(0)
        if start.history is not None:
            history = torch.cat((start.history, history))
        return SegmentEnd(state, depth, history, lengths)

    def read_by_heads(self, state: Packed) -> Packed:
        """Return the rows as heads read them; after the last block they are the encoder's last hidden states."""
        return state if self.norm is None else state.with_rows(self.norm(state.rows))

    def _run(self, block: nn.Module, state: Packed, received: bool) -> Packed:
        """Run a block; with gradient checkpointing its activations are computed again for the gradient, not kept."""
        if not (self.gradient_checkpointing and self.training):
            return block(state, received=received)

        def rows_after(rows: Tensor) -> tuple[Tensor, Tensor | None]:
            # What blocks share may be made of weights, and is then to be computed again as well.
            after = block(state.uncached().with_rows(rows), received=received)
            return after.rows, after.received

        return state.with_rows(*self._gradient_checkpointing_func(rows_after, state.rows))

    def checked_depths(self, head_depths: Sequence[int]) -> tuple[int, ...]:
        """Check that depths are some of the heads', in ascending order, and return them."""
        head_depths = plain(head_depths)
        depths = tuple(head_depths) if isinstance(head_depths, list | tuple) else (head_depths,)
        if not depths or any(depth not in self.head_depths for depth in depths) or list(depths) != sorted(set(depths)):
            raise ValueError(
                f"head_depths: expected some of {list(self.head_depths)} in ascending order, got {list(depths)}"
            )
        return depths

    def running_heads(self, trace: bool) -> tuple[int, ...]:
        """Return the depths whose heads run: the early ones only where a sequence could exit or all are traced."""
        return self.head_depths if trace or self.exit_criterion.active else self.head_depths[-1:]


_Parted = tuple[tuple[int, ...], Tensor, SegmentStart | None]


def _part(end: SegmentEnd, leave: Bool[Tensor, " batch"]) -> _Parted:
    """Part the sequences that exit from those that stay; reads the mask once, an early head's one synchronisation."""
    leaves, history = leave.tolist(), end.history
    if not any(leaves):
        return (), history[-1, :0], end.next_start
    if all(leaves):
        return end.state.example, history[-1], None
    stay = ~leave
    staying = end.state.keep_sequences(stay, [not left for left in leaves])
    logits = history[-1].index_select(0, true_indices(leave, sum(leaves)))
    history = history.index_select(1, true_indices(stay, len(staying.example)))
    return tuple(compress(end.state.example, leaves)), logits, SegmentStart(staying, end.depth, history)


class _Answers:
    """Collect each sequence's answer once, and the live tokens after each depth; counts stay on the host."""

    def __init__(self, state: Packed, num_layers: int) -> None:
        batch = len(state.host_lengths)
        self.device = state.rows.device
        self.tokens_kept = np.zeros((batch, num_layers + 1), dtype=np.int64)
        self.exit_depth = np.zeros(batch, dtype=np.int64)
        self.logits: list[Tensor] = []
        self.examples: list[int] = []

    def take(self, ended: SegmentExit) -> None:
        first = ended.depth - len(ended.lengths)
        self.tokens_kept[list(ended.example), first : ended.depth] = np.transpose(ended.lengths)
        if ended.leaving:
            self.logits.append(ended.logits)
            self.examples.extend(ended.leaving)
            self.exit_depth[list(ended.leaving)] = ended.depth

    def leaving_by(self, rules: Rules) -> Visit:
        """Return what lets sequences exit where a rule fires, for `AdaptiveEncoder.walk`; one host read per tap."""

        def visit(tap: Tap, state: Packed) -> Packed | None:
            if tap.place != "block":  # lengths as the attention has them; behind the embeddings, as they came in
                self.tokens_kept[list(state.example), max(0, tap.depth - 1)] = state.host_lengths
            found = rules.exits(tap, state)
            if found is None:
                return state
            leave, logits = found
            leaves = leave.tolist()
            if not any(leaves):
                return state
            self.logits.append(logits.index_select(0, true_indices(leave, sum(leaves))))
            gone = list(compress(state.example, leaves))
            self.examples.extend(gone)
            self.exit_depth[gone] = tap.depth
            return None if all(leaves) else state.keep_sequences(~leave, [not left for left in leaves])

        return visit

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
