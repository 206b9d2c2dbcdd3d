"""Which sequences of a batch have a near-tie on their path: a decision that rounding may turn.

Nothing here knows a rule of selection or an exit's formula: what a relative change of the scores turns is a near-tie.
The size of the change is the architecture's definition: 1e-5 in float32, and as many roundings in other precisions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eat.models.encoder import AdaptiveEncoder
from eat.models.rules import Rules, Tap
from eat.packed import Packed
from eat.pruners import Pruner
from tests.reliability.campaign import Case

SIZES = {torch.float64: 1e-12, torch.float32: 1e-5}
RULE_SIZE = 1e-5  # rules compute in float32, whatever the model does
DRAWS = 6


class WatchedPruner:
    """Stands in for a pruner during one pass: checks what it promises and notes whose tokens a change would turn."""

    def __init__(self, pruner: Pruner, case: Case, size: float) -> None:
        self.pruner, self.case, self.size = pruner, case, size
        self.depths, self.scale = pruner.depths, pruner.scale
        self.near: set[int] = set()
        self.generator = torch.Generator().manual_seed(case.seed)

    def needs(self, depth: int) -> bool:
        return self.pruner.needs(depth)

    def lengths_after(self, state: Packed, depth: int) -> tuple[int, ...] | None:
        return self.pruner.lengths_after(state, depth)

    def __call__(self, state: Packed, depth: int) -> Tensor:
        keep = self.pruner(state, depth)
        if not bool(keep[state.protected].all()):
            self.case.fail("a protected token was pruned", self.pruner)
        counts = torch.zeros(len(state.host_lengths), dtype=torch.long).index_add_(0, state.sequence, keep.long())
        if (expected := self.pruner.lengths_after(state, depth)) is not None and tuple(counts.tolist()) != expected:
            self.case.fail("another number of tokens was kept than the lengths say", f"{counts.tolist()}, {expected}")
        for _ in range(DRAWS if self.size else 0):
            turned = self.pruner(self._changed(state), depth) != keep
            if bool(turned.any()):
                self.near |= {state.example[i] for i in state.sequence[turned].unique().tolist()}
        return keep

    def _changed(self, state: Packed) -> Packed:
        noise = self._noise(state.rows.shape[0], state.rows.dtype)
        received = None if state.received is None else state.received * noise.to(state.received.dtype)
        return state.with_rows(state.rows * noise.unsqueeze(1), received)

    def _noise(self, count: int, dtype: torch.dtype) -> Tensor:
        return 1 + self.size * (2 * torch.rand(count, generator=self.generator, dtype=torch.float64) - 1).to(dtype)


class WatchedRules:
    """Stands in for a model's rules during a pass, and notes of whom a change would turn an exit."""

    def __init__(self, rules: Rules, seed: int) -> None:
        self.rules, self.last = rules, rules.last
        self.near: set[int] = set()
        self.generator = torch.Generator().manual_seed(seed)

    def exits(self, tap: Tap, state: Packed) -> tuple[Tensor, Tensor] | None:
        found = self.rules.exits(tap, state)
        for _ in range(0 if found is None else DRAWS):
            noise = 2 * torch.rand(state.rows.shape, generator=self.generator) - 1
            turned = self.rules.exits(tap, state.with_rows(state.rows * (1 + RULE_SIZE * noise).to(state.rows.dtype)))
            apart = (turned[0] != found[0]) | (turned[1] != found[1]).any(1)
            self.near |= {state.example[i] for i in apart.nonzero().flatten().tolist()}
        return found


def near_exits(encoder: AdaptiveEncoder, all_logits: Tensor, size: float, seed: int) -> set[int]:
    """Return the examples of which a head's decision, or a head's class, is a near-tie."""
    history = all_logits.transpose(0, 1)
    generator = torch.Generator().manual_seed(seed)
    near: set[int] = set()
    # A criterion compares probabilities and entropies, whose rounding is relative to 1 and not to a small logit.
    reach = size * history.abs().amax(-1, keepdim=True).clamp(min=1)
    for heads in range(1, len(history)):
        seen = history[:heads]
        decided = encoder.leaving(seen)
        for _ in range(DRAWS):
            noise = 2 * torch.rand(seen.shape, generator=generator, dtype=torch.float64).to(seen.dtype) - 1
            turned = encoder.leaving(seen + reach[:heads] * noise) != decided
            near |= set(turned.nonzero().flatten().tolist())
    return near


def size_of(model: Any) -> float:
    """Return how large a relative change counts, 0 for precisions in which answers are counted only."""
    return SIZES.get(model.dtype, 0.0)
