"""Run a model on one input and write down what its pruner does."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.inputs import Inputs
from eat.packed import AdaptiveOutput, Packed
from eat.pruners import Pruner


@dataclasses.dataclass(frozen=True, eq=False)
class Pruned:
    """What a pruner was shown after a depth, and what it kept; one entry a live token, on the host."""

    depth: int
    positions: list[int]
    protected: list[bool]
    kept: list[bool]
    scores: list[float] | None  # None where the pruner ranks by no score


class WatchedPruner:
    """A pruner that prunes as another one does, and writes down what it did to a batch of one sequence."""

    def __init__(self, pruner: Pruner) -> None:
        self.pruner = pruner
        self.depths = pruner.depths
        self.scale = pruner.scale
        self.seen: list[Pruned] = []

    def needs(self, depth: int) -> bool:
        """Ask the other."""
        return self.pruner.needs(depth)

    def lengths_after(self, state: Packed, depth: int) -> tuple[int, ...] | None:
        """Ask the other."""
        return self.pruner.lengths_after(state, depth)

    def __call__(self, state: Packed, depth: int) -> Bool[Tensor, " tokens"]:
        """Return what the other keeps, and write it down."""
        kept = self.pruner(state, depth)
        scores: Float[Tensor, " tokens"] | None = None
        if hasattr(self.pruner, "scores"):  # as every ranked pruner has
            scores = self.pruner.scores(state, depth)
        self.seen.append(
            Pruned(
                depth,
                state.positions.tolist(),
                state.protected.tolist(),
                kept.tolist(),
                None if scores is None else scores.tolist(),
            )
        )
        return kept


def watch(
    model: AdaptiveForSequenceClassification, inputs: Mapping[str, Tensor]
) -> tuple[AdaptiveOutput, AdaptiveOutput, list[Pruned]]:
    """Return a model's answer, every head's answer without early exits, and what was pruned on the way.

    The model stays as it is, also for others that use it meanwhile: a shallow copy of its encoder is watched, of the
    same blocks and heads.
    """
    watched = copy.copy(model.encoder)
    pruner = WatchedPruner(model.pruner)
    watched.__dict__["pruner"] = pruner  # a pruner with weights is a submodule, which the copy shares
    with torch.inference_mode():
        answer = model(**inputs, return_dict=True)
        state = model.embedded(Inputs(inputs["input_ids"], None, inputs.get("token_type_ids"), None))
        return answer, watched(state, trace=True), pruner.seen
