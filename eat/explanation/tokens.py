"""Tokenise one text so that each token can be shown as it was typed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from eat.checks import shown, whole_number
from eat.explanation.observed import Token

MARGIN = 128  # more tokens than WordPiece makes of a word: a text cut so far behind its last token has the same ones


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], longest: int, max_length: int | None
) -> tuple[Any, int]:
    """Return a tokenizer's ``BatchEncoding`` of a text or pair, and how many tokens were cut off.

    Args:
        tokenizer: A fast one, which knows where its tokens stand in the text.
        texts: One text or two.
        longest: Tokens that the model takes at most.
        max_length: Tokens that the caller wants to keep at most; None for as many as model and tokenizer take.

    Raises:
        ValueError: If the tokenizer is not a fast one, a text is none, or there is no room for one.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(f"tokenizer: expected a fast one (AutoTokenizer gives it), got {type(tokenizer).__name__}")
    for name, text in zip(("text", "text_pair"), texts, strict=False):
        _check_text(name, text)
    room = min(longest, tokenizer.model_max_length)
    if max_length is not None:
        room = min(room, whole_number("max_length", max_length))
    whole = tokenizer(*texts, truncation=False, padding=False, verbose=False)
    special = [index for index in whole.encodings[0].sequence_ids if index is None]
    if room <= len(special):
        raise ValueError(f"max_length: expected more than the {len(special)} special tokens, got {room}")
    num_tokens = len(whole["input_ids"])
    if num_tokens <= room:
        return whole, 0
    # Asked to cut a pair, the tokenizers library pairs every rest with every rest: minutes for two long texts.
    starts = [_start(text, whole.encodings[0], index, room + MARGIN) for index, text in enumerate(texts)]
    cut = tokenizer(*starts, truncation=True, max_length=room, padding=False)
    return cut, num_tokens - len(cut["input_ids"])


def tokens_of(encoded: Any, texts: Sequence[str]) -> tuple[Token, ...]:
    """Return the tokens of an encoding, each with the characters that it stands for.

    Several byte-level tokens may stand for one character: the first of them has it, the others are empty.
    """
    encoding = encoded.encodings[0]
    tokens: list[Token] = []
    shown_to = [0] * len(texts)
    for name, index, word, (start, end) in zip(
        encoding.tokens, encoding.sequence_ids, encoding.word_ids, encoding.offsets, strict=True
    ):
        if index is None:
            tokens.append(Token(name, None, None, 0, 0))
            continue
        start = max(start, min(shown_to[index], end))
        shown_to[index] = end
        tokens.append(Token(texts[index][start:end], index, word, start, end))
    return tuple(tokens)


def _check_text(name: str, text: Any) -> None:
    if not isinstance(text, str):
        raise ValueError(f"{name}: expected one text, got {shown(text)}; for several call it once for each")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name}: expected valid Unicode, got {text[error.start]!r} at {error.start}") from None


def _start(text: str, encoding: Any, index: int, count: int) -> str:
    """Return a text up to the end of its token ``count``; all of it where it has no more."""
    places = zip(encoding.sequence_ids, encoding.offsets, strict=True)
    ends = [end for owner, (_, end) in places if owner == index]
    return text[: ends[count]] if len(ends) > count else text
