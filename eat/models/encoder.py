"""The one loop over depths, for training, evaluation, tracing and serving alike."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from eat.exits import ExitCriterion
from eat.modules.embeddings import Embeddings
from eat.packed import AdaptiveOutput, Packed
from eat.pruners import Pruner


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

    def forward(self, state: Packed, trace: bool) -> AdaptiveOutput:
        """Run the blocks until every sequence has left.

        Args:
            state: Embedded rows.
            trace: True runs every head and lets nobody leave early.
        """
        depths = self._running_heads(trace)
        answers = _Answers(state, len(self.blocks))
        history: Float[Tensor, "heads batch classes"] | None = None
        for depth, block in enumerate(self.blocks, start=1):
            state = block(state, received=self.pruner.needs(depth))
            if depth in depths:
                logits = self.heads[str(depth)](state).unsqueeze(0)
                history = logits if history is None else torch.cat((history, logits))
                if depth == depths[-1]:
                    answers.take(state, history, depth)
                    break
                if not trace:
                    leave = self.exit_criterion(history)
                    state, history = self._let_leave(state, history, leave, answers, depth)
                    if state.is_empty:
                        break
            if depth in self.pruner.depths:
                after = self.pruner.lengths_after(state.host_lengths, state.num_protected, depth)
                state = state.keep_tokens(self.pruner(state, depth), after)
            answers.count(state, depth)
        return answers.output(history if trace else None)

    def _running_heads(self, trace: bool) -> tuple[int, ...]:
        """Return the depths whose heads run: the early ones only where somebody could leave or wants to see them."""
        return self.head_depths if trace or self.exit_criterion.active else self.head_depths[-1:]

    @staticmethod
    def _let_leave(
        state: Packed,
        history: Float[Tensor, "heads batch classes"],
        leave: Bool[Tensor, " batch"],
        answers: _Answers,
        depth: int,
    ) -> tuple[Packed, Float[Tensor, "heads stay classes"]]:
        """Write down the answers of the sequences that leave and return what stays."""
        stay = ~leave
        staying = state.keep_sequences(stay)
        if staying is state:
            return state, history
        leaving = [i for i, left in enumerate(leave.tolist()) if left]
        answers.take(state, history, depth, leaving)
        return staying, history[:, stay]


class _Answers:
    """Collects each sequence's answer once, and how many tokens live after each depth; counts stay on the host."""

    def __init__(self, state: Packed, num_layers: int) -> None:
        batch = len(state.host_lengths)
        self.device = state.rows.device
        self.tokens_kept = np.zeros((batch, num_layers + 1), dtype=np.int64)
        self.exit_depth = np.zeros(batch, dtype=np.int64)
        self.logits: list[Tensor] = []
        self.examples: list[int] = []
        self.count(state, 0)

    def count(self, state: Packed, depth: int) -> None:
        self.tokens_kept[list(state.example), depth] = state.host_lengths

    def take(
        self, state: Packed, history: Float[Tensor, "heads batch classes"], depth: int, leaving: list[int] | None = None
    ) -> None:
        examples = list(state.example) if leaving is None else [state.example[i] for i in leaving]
        logits = history[-1]
        if leaving is not None:
            logits = logits.index_select(0, torch.tensor(leaving, device=self.device))
        self.logits.append(logits)
        self.examples.extend(examples)
        self.exit_depth[examples] = depth

    def output(self, history: Float[Tensor, "heads batch classes"] | None) -> AdaptiveOutput:
        logits = self.logits[0]
        if len(self.logits) > 1:
            order = np.argsort(self.examples)
            logits = torch.cat(self.logits).index_select(0, torch.from_numpy(order).to(self.device))
        return AdaptiveOutput(
            logits=logits,
            exit_depth=torch.from_numpy(self.exit_depth).to(self.device),
            tokens_kept=torch.from_numpy(self.tokens_kept).to(self.device),
            all_logits=None if history is None else history.transpose(0, 1),
        )
