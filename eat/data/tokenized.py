"""Tokenised text as flat arrays: a batch is then slices put end to end, with no work per token."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset
from jaxtyping import Float, Int
from transformers import PreTrainedTokenizerBase

_log = logging.getLogger(__name__)

# A text is cut to this many characters per token before tokenising; a word longer than that is one unknown token to
# WordPiece anyway, and without the cut a text of a million characters costs minutes for a few hundred tokens.
CHARACTERS_PER_TOKEN = 200
_CHUNK = 2_000
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class TokenizedSplit:
    """Token ids of a split's examples, end to end.

    Attributes:
        input_ids: Token ids, the special ones included.
        offsets: Example i's tokens are ``input_ids[offsets[i] : offsets[i + 1]]``.
        token_type_ids: Types of the tokens; None where the tokenizer gives none.
        labels: Class index or real value of each example; None for unlabelled text.
    """

    def __init__(
        self,
        input_ids: Int[np.ndarray, " tokens"],
        offsets: Int[np.ndarray, " examples_and_one"],
        token_type_ids: Int[np.ndarray, " tokens"] | None,
        labels: Int[np.ndarray, " examples"] | Float[np.ndarray, " examples"] | None,
    ) -> None:
        self.input_ids = input_ids
        self.offsets = offsets
        self.token_type_ids = token_type_ids
        self.labels = labels

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int[np.ndarray, " examples"]:
        """Tokens of each example."""
        return np.diff(self.offsets)


def tokenize(
    rows: Dataset, tokenizer: PreTrainedTokenizerBase, *, max_length: int, cache_dir: Path | None = None
) -> TokenizedSplit:
    """Tokenise a split, or read it from the cache.

    Args:
        rows: Columns ``text``, for pairs ``text_pair``, and optionally ``label``.
        tokenizer: Any tokenizer of transformers; a fast one for speed.
        max_length: Longest example in tokens; the longer text of a pair is cut first.
        cache_dir: Where tokenised splits are kept, one file for each (texts, tokenizer, max_length); None keeps none.

    Raises:
        ValueError: If there is no room for text, or a text is no text or has characters that no file can hold.
    """
    pair = "text_pair" in rows.column_names
    room = max_length - tokenizer.num_special_tokens_to_add(pair=pair)
    if room < 1:
        raise ValueError(f"max_length: expected more than the {max_length - room} special tokens, got {max_length}")
    columns = [rows[name][:] for name in (("text", "text_pair") if pair else ("text",))]
    labels = np.asarray(rows["label"][:]) if "label" in rows.column_names else None
    for name, texts in zip(("text", "text_pair"), columns, strict=False):
        _check_texts(name, texts)
    cached = None
    if cache_dir is not None:
        cached = cache_dir / f"tokens-{_fingerprint(columns, tokenizer, max_length)}.npz"
        if cached.is_file():
            with np.load(cached) as arrays:
                return TokenizedSplit(arrays["input_ids"], arrays["offsets"], arrays.get("token_type_ids"), labels)
    split = _tokenize(columns, tokenizer, max_length, labels)
    if cached is not None:
        _write(cached, split)
    return split


def _tokenize(
    columns: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_length: int, labels: np.ndarray | None
) -> TokenizedSplit:
    longest = CHARACTERS_PER_TOKEN * max_length
    ids, types, lengths = [], [], []
    for start in range(0, len(columns[0]), _CHUNK):
        texts = [[text[:longest] for text in column[start : start + _CHUNK]] for column in columns]
        encoded = tokenizer(*texts, truncation="longest_first", max_length=max_length, return_attention_mask=False)
        lengths += [len(row) for row in encoded["input_ids"]]
        ids.append(_flat(encoded["input_ids"]))
        if "token_type_ids" in encoded:
            types.append(_flat(encoded["token_type_ids"]))
    return TokenizedSplit(
        np.concatenate(ids) if ids else np.zeros(0, np.int32),
        np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))),
        np.concatenate(types) if types else None,
        labels,
    )


def _flat(rows: Sequence[Sequence[int]]) -> Int[np.ndarray, " tokens"]:
    return np.fromiter((token for row in rows for token in row), dtype=np.int32)


def _check_texts(name: str, texts: Sequence[str]) -> None:
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"{name}: expected text in every row, got {text!r} in row {row}")
        if not text.isascii() and (found := _SURROGATE.search(text)):
            raise ValueError(
                f"{name}: expected valid Unicode, got the lone surrogate {found.group()!a} in row {row}; "
                "the text was decoded wrongly where it came from"
            )


def _fingerprint(columns: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_length: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    vocabulary = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    digest.update(f"{type(tokenizer).__name__}/{max_length}/{CHARACTERS_PER_TOKEN}/{vocabulary}".encode())
    for column in columns:
        for text in column:
            encoded = text.encode()
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


def _write(path: Path, split: TokenizedSplit) -> None:
    """Write the cache file whole or not at all; a full disk costs the cache, not the training."""
    arrays = {"input_ids": split.input_ids, "offsets": split.offsets}
    if split.token_type_ids is not None:
        arrays["token_type_ids"] = split.token_type_ids
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as handle:
            np.savez(handle, **arrays)  # type: ignore[arg-type]  # the stub takes any keyword for allow_pickle
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        _log.warning("tokenised text is not cached: could not write %s (%s)", path, error)
