"""Encode texts: truncate and add special tokens as the tokenizer itself would, but in linear time.

Asked to cut pairs, the tokenizers library also builds what is cut off, every rest of one text with every rest of the
other: two long texts then take minutes. So texts are encoded one by one and put together here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from eat.ops.truncation import kept_lengths

# A text is cut before it is encoded where so many characters per token hold enough tokens. The cut can spoil the word
# that it falls into; the margin is more tokens than a word has: WordPiece gives up on words beyond 100 characters.
CHARACTERS_PER_TOKEN = 16
MARGIN = 128


@dataclass(frozen=True)
class Template:
    """Template of a tokenizer: where special tokens stand around one text or a pair."""

    special_ids: tuple[list[int], ...]  # special tokens before each text, and after the last
    special_types: tuple[list[int], ...]  # their token types
    text_types: tuple[int, ...]  # token type of each text

    @property
    def num_special(self) -> int:
        """Special tokens of an example."""
        return sum(map(len, self.special_ids))

    def ids(self, texts: Sequence[list[int]]) -> list[int]:
        """Put the special tokens around the texts of an example."""
        return _interleave(self.special_ids, texts)

    def types(self, texts: Sequence[list[int]]) -> list[int]:
        """Give the token types of `ids`."""
        kinds = zip(self.text_types, texts, strict=True)
        return _interleave(self.special_types, [[kind] * len(text) for kind, text in kinds])


def _interleave(special: Sequence[list[int]], texts: Sequence[list[int]]) -> list[int]:
    return [*special[0], *(token for pair in zip(texts, special[1:], strict=True) for part in pair for token in part)]


def template_of(tokenizer: PreTrainedTokenizerBase, num_texts: int) -> Template:
    """Learn a tokenizer's template from what it makes of an example.

    Raises:
        ValueError: If the tokenizer is not a fast one that cuts on the right.
    """
    if not tokenizer.is_fast or tokenizer.truncation_side != "right":
        kind = f"{'fast' if tokenizer.is_fast else 'slow'} one with truncation_side={tokenizer.truncation_side!r}"
        raise ValueError(f"tokenizer: expected a fast one with truncation_side='right', got a {kind}")
    example = tokenizer(*["a"] * num_texts, truncation=False, padding=False).encodings[0]
    ids: tuple[list[int], ...] = tuple([] for _ in range(num_texts + 1))
    types: tuple[list[int], ...] = tuple([] for _ in range(num_texts + 1))
    text_types = [0] * num_texts
    place = 0
    for token, kind, text in zip(example.ids, example.type_ids, example.sequence_ids, strict=True):
        if text is None:
            ids[place].append(token)
            types[place].append(kind)
        else:
            place, text_types[text] = text + 1, kind
    return Template(ids, types, tuple(text_types))


def encode(
    columns: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, template: Template, max_length: int
) -> list[list[list[int]]]:
    """Encode texts so that each example fits ``max_length``, its special tokens included; return ids without those.

    ``columns`` are the texts, for pairs the second texts as well; of each example come the token ids of its texts.
    """
    room = max_length - template.num_special
    encoded = []
    for column in columns:
        texts = list(column) if len(columns) > 1 else [_start(text, tokenizer, max_length) for text in column]
        encoded.append(_ids(texts, tokenizer))
    return [
        [text[:length] for text, length in zip(texts, kept_lengths([*map(len, texts)], room), strict=True)]
        for texts in zip(*encoded, strict=True)
    ]


def _start(text: str, tokenizer: PreTrainedTokenizerBase, max_length: int) -> str:
    """Truncate a very long text behind the tokens that are kept, where its start is seen to hold them all."""
    start = text[: CHARACTERS_PER_TOKEN * (max_length + MARGIN)]
    if len(start) < len(text) and len(_ids([start], tokenizer)[0]) >= max_length + MARGIN:
        return start
    return text


def _ids(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    if not texts:
        return []
    return tokenizer(
        texts,
        add_special_tokens=False,
        truncation=False,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )["input_ids"]
