"""Write an explanation as plain text, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from eat.explanation.observed import HeadAnswer, Observed, Pruning, Token


def in_plain_text(observed: Observed) -> str:
    """Return an explanation as lines of text, one a head and two a pruning."""
    lines = [
        f"{summary(observed)}: {observed.reason}",
        f"operating point: {observed.operating_point}",
    ]
    lines += [printable(observed.certificate)] if observed.certificate else []
    lines += [f"{len(observed.tokens)} tokens came in, the last layer that ran had {observed.tokens_left}"]
    lines += [f"{observed.tokens_cut} tokens beyond the longest input were cut off"] if observed.tokens_cut else []
    lines += ["", f"input     {words(observed.tokens, [True] * len(observed.tokens))}"]
    for behind, steps in groupby(observed.steps, key=observed.is_behind_exit):
        lines += ["", "behind the exit, as if the text had gone on:"] if behind else []
        for step in steps:
            lines += _head(step) if isinstance(step, HeadAnswer) else _pruning(step, observed.tokens)
    return "\n".join(lines)


def summary(observed: Observed) -> str:
    """Return the answer and where it was given."""
    sure = "" if observed.confidence is None else f" with confidence {observed.confidence:.3f}"
    return f"{printable(observed.label)}{sure} after layer {observed.exit_depth} of {observed.num_layers}"


def words(tokens: Sequence[Token], mask: Sequence[bool]) -> str:
    """Return the marked tokens as text: pieces of a word together, spaces where there was something between."""
    parts: list[str] = []
    last: Token | None = None
    for token, marked in zip(tokens, mask, strict=True):
        if not marked:
            continue
        if last is not None and not joined(last, token):
            parts.append(" ")
        parts.append(printable(token.text))
        last = token
    return "".join(parts)


def joined(before: Token, token: Token) -> bool:
    """Return True where a token stands right behind another in the same text."""
    return token.text_index is not None and token.text_index == before.text_index and token.start == before.end


def printable(text: str) -> str:
    """Replace what a terminal would obey, such as escape sequences and line breaks."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def counted(pruning: Pruning) -> str:
    """Say how many tokens a pruner kept."""
    return f"keeps {sum(pruning.kept)} of {sum(pruning.alive)} tokens"


def _head(head: HeadAnswer) -> list[str]:
    sure = "" if head.confidence is None else f" {head.confidence:.3f}"
    return [f"layer {head.depth:<3} head: {printable(head.label)}{sure}; {head.decision}"]


def _pruning(pruning: Pruning, tokens: Sequence[Token]) -> list[str]:
    dropped = [alive and not kept for alive, kept in zip(pruning.alive, pruning.kept, strict=True)]
    lines = [f"layer {pruning.depth:<3} pruner {counted(pruning)}: {words(tokens, pruning.kept)}"]
    return [*lines, f"          drops {words(tokens, dropped)}"] if any(dropped) else lines
