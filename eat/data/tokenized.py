"""Tokenise splits into flat arrays, with a cache: a batch is then slices put end to end."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset
from jaxtyping import Float, Int
from transformers import PreTrainedTokenizerBase

from eat.checks import shown
from eat.data.encoding import Template, encode, template_of
from eat.files import replacing

_log = logging.getLogger(__name__)

_CHUNK = 2_000


@dataclass(frozen=True, eq=False)
class TokenizedSplit:
    """Token ids of a split's examples, end to end."""

    input_ids: Int[np.ndarray, " tokens"]  # the special ones included
    offsets: Int[np.ndarray, " examples_and_one"]  # example i's tokens are input_ids[offsets[i] : offsets[i + 1]]
    token_type_ids: Int[np.ndarray, " tokens"] | None  # None where the tokenizer gives none
    # Classes, scores or, for several labels, rows of 0 and 1; None: unlabelled.
    labels: Int[np.ndarray, " examples"] | Float[np.ndarray, examples * labels] | None

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

    Rows have the columns ``text``, for pairs ``text_pair``, and optionally ``label``; ``max_length`` is in tokens, and
    the longer text of a pair is cut first. Empty text is tokenised to the special tokens alone. What a text holds
    beyond ``max_length`` costs next to nothing. In ``cache_dir``, unless it is None, there is a file for each
    (texts, tokenizer, max_length).

    Raises:
        ValueError: If there is no room for text, a text is missing or not UTF-8, or the tokenizer is of another kind.
    """
    num_texts = 2 if "text_pair" in rows.column_names else 1
    template = template_of(tokenizer, num_texts)
    if max_length <= template.num_special:
        raise ValueError(f"max_length: expected more than the {template.num_special} special tokens, got {max_length}")
    columns = [_texts(rows, name) for name in ("text", "text_pair")[:num_texts]]
    labels = np.asarray(rows["label"][:]) if "label" in rows.column_names else None
    if cache_dir is None:
        return _tokenize(columns, tokenizer, template, max_length, labels)
    cached = cache_dir / f"tokens-{_fingerprint(columns, tokenizer, max_length)}.npz"
    split = _read(cached, labels)
    if split is None:
        split = _tokenize(columns, tokenizer, template, max_length, labels)
        _write(cached, split)
    return split


def _tokenize(
    columns: Sequence[Sequence[str]],
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    max_length: int,
    labels: np.ndarray | None,
) -> TokenizedSplit:
    ids, types, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)], [0]
    for start in range(0, len(columns[0]), _CHUNK):
        chunk = [column[start : start + _CHUNK] for column in columns]
        examples = encode(chunk, tokenizer, template, max_length)
        ids.append(_flat([template.ids(texts) for texts in examples]))
        types.append(_flat([template.types(texts) for texts in examples]))
        lengths += [template.num_special + sum(map(len, texts)) for texts in examples]
    has_types = "token_type_ids" in tokenizer.model_input_names
    return TokenizedSplit(np.concatenate(ids), np.cumsum(lengths), np.concatenate(types) if has_types else None, labels)


def _flat(rows: Sequence[Sequence[int]]) -> Int[np.ndarray, " tokens"]:
    return np.fromiter(itertools.chain.from_iterable(rows), dtype=np.int32)


def _texts(rows: Dataset, column: str) -> list[str]:
    try:
        texts: list[str] = rows[column][:]
    except UnicodeDecodeError as error:
        raise ValueError(f"{column}: expected valid UTF-8 text, got other bytes: {error}") from error
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"{column}: expected text in every row, got {shown(text)} in row {row}")
    return texts


def _fingerprint(columns: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_length: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{type(tokenizer).__name__}/{max_length}/{_definition(tokenizer)}".encode())
    for column in columns:
        digest.update(f"{len(column)}".encode())
        for text in column:
            encoded = text.encode()
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


def _definition(tokenizer: PreTrainedTokenizerBase) -> str:
    """Describe what a tokenizer does, less the truncation and padding that its last call left behind."""
    facts = json.loads(tokenizer.backend_tokenizer.to_str())
    facts |= {"truncation": None, "padding": None, "inputs": tokenizer.model_input_names}
    return json.dumps(facts, sort_keys=True)


def _read(path: Path, labels: np.ndarray | None) -> TokenizedSplit | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as handle, np.load(handle) as arrays:
            return TokenizedSplit(arrays["input_ids"], arrays["offsets"], arrays.get("token_type_ids"), labels)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _log.warning("tokenised text is made anew: %s cannot be read (%s)", path, error)
        return None


def _write(path: Path, split: TokenizedSplit) -> None:
    """Write the cache file; a full disk costs the cache, not the training."""
    arrays = {"input_ids": split.input_ids, "offsets": split.offsets}
    if split.token_type_ids is not None:
        arrays["token_type_ids"] = split.token_type_ids
    try:
        with replacing(path) as partial, partial.open("wb") as handle:
            np.savez(handle, **arrays)  # type: ignore[arg-type]  # the stub takes any keyword for allow_pickle
    except OSError as error:
        _log.warning("tokenised text is not cached: %s", error)
