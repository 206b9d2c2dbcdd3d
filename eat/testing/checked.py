"""A check in progress: what was expected and what came, said with the seed that repeats it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

NEAR_TIE = 1e-5
"""A decision in float32 whose deciding difference is smaller is a near-tie: rounding may decide it."""
EXACT = 1e-9
"""What float64 is held to: rounding, and no decision."""
CLOSE = 1e-5
"""What float32 is held to where no near-tie lies on the way."""


class CheckFailedError(AssertionError):
    """A part does not keep what its family promises."""


@dataclasses.dataclass
class Checked:
    """What a check went through.

    Attributes:
        subject: The check and the part, such as ``check_pruner(l2_norm)``.
        facts: What was found to hold, each once.
        examples: Examples that were compared in float32.
        near_ties: How many of them had a near-tie on their way, whose decisions were left to rounding.
        left_out: What could not be checked here, and why.
    """

    subject: str
    facts: list[str] = dataclasses.field(default_factory=list)
    examples: int = 0
    near_ties: int = 0
    left_out: list[str] = dataclasses.field(default_factory=list)
    _seed: int | None = dataclasses.field(default=None, repr=False)

    @contextmanager
    def trial(self, seed: int) -> Iterator[None]:
        """Name the seed in all that fails inside."""
        self._seed = seed
        try:
            yield
        except CheckFailedError:
            raise
        except Exception as error:
            error.add_note(f"{self.subject} failed with seed={seed}; repeat with seed={seed}, trials=1")
            raise
        finally:
            self._seed = None

    def expect(self, holds: bool, fact: str, expected: Any, got: Any) -> None:
        """Note a fact, or fail with what was expected and what came."""
        if not holds:
            self.fail(fact, expected, got)
        if fact not in self.facts:
            self.facts.append(fact)

    def same(self, got: Any, expected: Any, fact: str, within: float = 0.0) -> None:
        """Expect equal values; tensors and arrays of one shape, and no number further off than ``within``."""
        if not isinstance(expected, Tensor | np.ndarray):
            self.expect(bool(got == expected), fact, expected, got)
            return
        ours, theirs = (torch.as_tensor(value).detach().cpu() for value in (got, expected))
        self.expect(ours.shape == theirs.shape, fact, f"shape {tuple(theirs.shape)}", f"shape {tuple(ours.shape)}")
        if within == 0:
            self.expect(torch.equal(ours, theirs), fact, theirs.tolist(), ours.tolist())
            return
        finite = bool(ours.isfinite().all())
        off = float((ours.double() - theirs.double()).abs().max()) if theirs.numel() else 0.0
        self.expect(finite and off <= within, fact, f"a difference of at most {within:g}", off if finite else ours)

    def fail(self, fact: str, expected: Any, got: Any) -> NoReturn:
        """Raise, in one line."""
        seed = "" if self._seed is None else f", seed={self._seed}"
        again = "" if self._seed is None else f" (repeat with seed={self._seed}, trials=1)"
        raise CheckFailedError(f"{self.subject}{seed}: {fact}: expected {_short(expected)}, got {_short(got)}{again}")


def seeds(seed: int, trials: int) -> Sequence[int]:
    """List the seeds of the trials."""
    if trials < 1:
        raise ValueError(f"trials: expected an integer of 1 or more, got {trials}")
    return range(seed, seed + trials)


def in_models(seed: int, trials: int) -> Sequence[int]:
    """List the seeds of the trials inside of whole models, which take longer: a quarter of them."""
    return seeds(seed, max(1, trials // 4))


def _short(value: Any) -> str:
    text = " ".join((value if isinstance(value, str) else repr(value)).split())
    return text if len(text) <= 300 else f"{text[:300]}..."
