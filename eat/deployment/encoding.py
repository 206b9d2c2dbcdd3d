"""Encode texts with the tokenizers library, truncated and put together as `eat.data.encoding` does in training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from eat.checks import several, shown
from eat.deployment.manifest import Manifest
from eat.ops.truncation import kept_lengths


class TextEncoder:
    """Turns texts or pairs into token ids and types, special tokens included.

    Raises:
        ImportError: If tokenizers is not installed.
    """

    def __init__(self, file: Path, manifest: Manifest) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ImportError("tokenizers is not installed: pip install tokenizers") from error
        self.tokenizer = Tokenizer.from_file(str(file))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.templates, self.max_length = manifest.templates, manifest.max_length

    def __call__(self, texts: Sequence[str | tuple[str, str]]) -> tuple[list[list[int]], list[list[int]]]:
        """Return the ids and the types of each example."""
        examples = [_columns(place, text) for place, text in enumerate(several("texts", texts, "['a text']"))]
        if examples and (len({*map(len, examples)}) > 1 or len(examples[0]) > len(self.templates)):
            raise ValueError("texts: expected all to be texts or all pairs that the tokenizer can join, got a mixture")
        flat = self.tokenizer.encode_batch([*chain.from_iterable(examples)], add_special_tokens=False)
        encoded = iter(flat)
        all_ids, all_types = [], []
        for columns in examples:
            template = self.templates[len(columns) - 1]
            found = [next(encoded).ids for _ in columns]
            room = self.max_length - sum(map(len, template.special_ids))
            kept = kept_lengths([*map(len, found)], room)
            ids, types = list(template.special_ids[0]), list(template.special_types[0])
            for place, (part, length) in enumerate(zip(found, kept, strict=True)):
                ids += [*part[:length], *template.special_ids[place + 1]]
                types += [*[template.text_types[place]] * min(length, len(part)), *template.special_types[place + 1]]
            all_ids.append(ids)
            all_types.append(types)
        return all_ids, all_types


def _columns(place: int, text: object) -> tuple[str, ...]:
    columns = (text,) if isinstance(text, str) else text
    if isinstance(columns, tuple | list) and len(columns) in (1, 2):
        words = [word for word in columns if isinstance(word, str)]
        if len(words) == len(columns):
            return tuple(words)
    raise ValueError(f"texts[{place}]: expected a text or a pair of texts, got {shown(text)}")
