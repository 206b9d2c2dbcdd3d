"""What was observed while a model answered one text, as plain data."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Token:
    """A token of the input.

    Attributes:
        text: The characters that it stands for, as they were typed; a special token's name.
        text_index: 0 for the text, 1 for the second text of a pair; None for a special token.
        word: Which word of its text it is a piece of; None for a special token.
        start: Its first character within its text.
        end: The character behind its last.
    """

    text: str
    text_index: int | None
    word: int | None
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class Pruning:
    """What the pruner did after a depth; one entry a token of the input.

    Attributes:
        depth: Blocks that had run.
        alive: True for tokens that were there to be pruned.
        kept: True for those that stayed.
        scores: Importance that decided; None for a token that was gone or is protected, and for all where the pruner
            ranks by no score.
        reached: False where the text exits before, so that its tokens were not pruned here.
    """

    depth: int
    alive: tuple[bool, ...]
    kept: tuple[bool, ...]
    scores: tuple[float | None, ...]
    reached: bool


@dataclasses.dataclass(frozen=True)
class HeadAnswer:
    """What a head says.

    Attributes:
        depth: Blocks that it reads.
        label: Name of the most probable class; the predicted number, as text, for regression.
        confidence: Probability of that class; None for regression.
        probabilities: Of all classes by name, the most probable first; empty for regression.
        logits: What the exit criterion reads: divided by the head's temperature.
        temperature: 1 where the head is not calibrated.
        reached: False where the text exits before, or no early head runs.
        decision: Why the text exits here or goes on, in words.
    """

    depth: int
    label: str
    confidence: float | None
    probabilities: dict[str, float]
    logits: tuple[float, ...]
    temperature: float
    reached: bool
    decision: str


@dataclasses.dataclass(frozen=True)
class Observed:
    """One text on its way through a model.

    Attributes:
        text: The text.
        text_pair: The second text; None where there is one text.
        label: The model's answer, that of the head at ``exit_depth``.
        confidence: Its probability; None for regression.
        exit_depth: Blocks that ran.
        num_layers: Blocks of the model.
        reason: Why the text exits there.
        operating_point: Exit criterion and its arguments.
        certificate: What is certified of the operating point, in words; None without a certificate.
        tokens: What the model reads.
        tokens_cut: Tokens beyond the longest input, which it does not.
        prunings: By ascending depth.
        heads: By ascending depth.
    """

    text: str
    text_pair: str | None
    label: str
    confidence: float | None
    exit_depth: int
    num_layers: int
    reason: str
    operating_point: str
    certificate: str | None
    tokens: tuple[Token, ...]
    tokens_cut: int
    prunings: tuple[Pruning, ...]
    heads: tuple[HeadAnswer, ...]

    @property
    def tokens_left(self) -> int:
        """Tokens that the last block worked on."""
        reached = [sum(pruning.kept) for pruning in self.prunings if pruning.reached]
        return reached[-1] if reached else len(self.tokens)

    @property
    def steps(self) -> list[Pruning | HeadAnswer]:
        """Heads and prunings in the order in which they act: a depth's head before its pruning."""
        return sorted([*self.heads, *self.prunings], key=lambda step: step.depth)  # stable, so heads come first

    def is_behind_exit(self, step: Pruning | HeadAnswer) -> bool:
        """Return True for what the text does not come to, because it exits before."""
        return step.depth > self.exit_depth or (isinstance(step, Pruning) and not step.reached)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as values that JSON can hold."""
        return dataclasses.asdict(self)
