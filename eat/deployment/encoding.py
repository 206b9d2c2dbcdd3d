"""Encode texts with the tokenizers library, truncated and put together as `eat.data.encoding` does in training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from eat.checks import several, shown
from eat.deployment.manifest import Manifest, Template
from eat.ops.truncation import kept_lengths


class Encoded(NamedTuple):
    """A text or a pair as token ids, special tokens included."""

    ids: list[int]
    types: list[int]
    cut: int  # tokens that there was no room for


class TextEncoder:
    """Turns texts or pairs into token ids and types.

    Args:
        tokenizer: One of the tokenizers library, which then neither pads nor truncates.
        templates: Where special tokens stand around one text, and around a pair.
        max_length: Tokens of an example, special ones included.
    """

    def __init__(self, tokenizer: Any, templates: Sequence[Template], max_length: int) -> None:
        self.tokenizer, self.templates, self.max_length = tokenizer, templates, max_length
        tokenizer.no_padding()
        tokenizer.no_truncation()

    @classmethod
    def from_file(cls, file: Path, manifest: Manifest) -> TextEncoder:
        """Build from the files of an export.

        Raises:
            ImportError: If tokenizers is not installed.
        """
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ImportError("tokenizers is not installed: pip install tokenizers") from error
        return cls(Tokenizer.from_file(str(file)), manifest.templates, manifest.max_length)

    def __call__(self, texts: Sequence[str | tuple[str, ...]]) -> list[Encoded]:
        """Encode each example, truncated to ``max_length``."""
        examples = [_columns(place, text) for place, text in enumerate(several("texts", texts, "['a text']"))]
        if examples and (len({*map(len, examples)}) > 1 or len(examples[0]) > len(self.templates)):
            raise ValueError("texts: expected all to be texts or all pairs that the tokenizer can join, got a mixture")
        flat = self.tokenizer.encode_batch([*chain.from_iterable(examples)], add_special_tokens=False)
        encoded = iter(flat)
        return [self._joined([next(encoded).ids for _ in columns]) for columns in examples]

    def _joined(self, found: Sequence[list[int]]) -> Encoded:
        """Put the special tokens around the texts of an example."""
        template = self.templates[len(found) - 1]
        kept = kept_lengths([*map(len, found)], self.max_length - sum(map(len, template.special_ids)))
        ids, types = list(template.special_ids[0]), list(template.special_types[0])
        for place, (part, length) in enumerate(zip(found, kept, strict=True)):
            ids += [*part[:length], *template.special_ids[place + 1]]
            types += [*[template.text_types[place]] * min(length, len(part)), *template.special_types[place + 1]]
        return Encoded(ids, types, sum(map(len, found)) - sum(kept))


def _columns(place: int, text: object) -> tuple[str, ...]:
    columns = (text,) if isinstance(text, str) else text
    if isinstance(columns, tuple | list) and len(columns) in (1, 2):
        words = [word for word in columns if isinstance(word, str)]
        if len(words) == len(columns):
            return tuple(words)
    raise ValueError(f"texts[{place}]: expected a text or a pair of texts, got {shown(text)}")
