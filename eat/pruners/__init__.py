"""Pruners: mark the tokens to keep after a depth; for each sequence a function of its own rows only."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool
from torch import Tensor

from eat.packed import Packed
from eat.pruners.attention_received import AttentionReceivedPruner
from eat.pruners.l2_norm import L2NormPruner
from eat.pruners.none import NoPruner
from eat.pruners.random import RandomPruner
from eat.registry import Family, build_part

__all__ = ["PRUNERS", "Pruner", "build_pruner"]


@runtime_checkable
class Pruner(Protocol):
    """Mark the tokens to keep.

    Attributes:
        depths: Depths (1-based) after which tokens are pruned.
        scale: In [0, 1], multiplies the ratios; below 1 only while training anneals them.
    """

    depths: tuple[int, ...]
    scale: float

    def needs(self, depth: int) -> bool:
        """Return True where the block of this depth must fill ``Packed.received``."""
        ...

    def __call__(self, state: Packed, depth: int) -> Bool[Tensor, " tokens"]:
        """Return True on the tokens that stay: always the protected ones."""
        ...

    def lengths_after(self, state: Packed, depth: int) -> tuple[int, ...] | None:
        """Return how many tokens stay in each sequence where lengths alone tell, else None: the mask is counted."""
        ...


PRUNERS: Family[Callable[..., Any]] = Family(
    "eat.pruners",
    {
        "none": NoPruner,
        "l2_norm": L2NormPruner,
        "attention_received": AttentionReceivedPruner,
        "random": RandomPruner,
    },
)


def build_pruner(spec: Mapping[str, Any]) -> Pruner:
    """Build a pruner from ``{"name": ..., **arguments}``."""
    return build_part("pruner", PRUNERS, spec)
