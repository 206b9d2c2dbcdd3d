"""Tokenisation as a contender's companion: the time from texts to token ids, measured in the same rounds."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from transformers import PreTrainedTokenizerBase

from eat.benchmark.engines import Call, Encoded
from eat.data import TextDataModule
from eat.data.encoding import encode, template_of


@dataclasses.dataclass(frozen=True)
class Texts:
    """The texts of a benchmark's examples and what makes token ids of them."""

    rows: Sequence[Sequence[str]]  # the texts of each example, one or a pair
    call: Call  # texts of a batch in, token ids out


def encoded_examples(data: TextDataModule, split: str, index: Sequence[int]) -> list[Encoded]:
    """Return the token ids of some examples as lists: what every contender of a benchmark starts from."""
    tokens = data.tokenized[split]
    columns = {"input_ids": tokens.input_ids, "token_type_ids": tokens.token_type_ids}
    given = {name: ids for name, ids in columns.items() if ids is not None}
    places = [slice(tokens.offsets[i], tokens.offsets[i + 1]) for i in index]
    return [{name: ids[place].tolist() for name, ids in given.items()} for place in places]


def training_rows(data: TextDataModule, count: int) -> list[Encoded]:
    """Draw so many examples that were trained on, or all, by the data's own seed."""
    total = len(data.splits["train"])
    drawn = np.random.default_rng(data.seed).permutation(total)[:count]
    return encoded_examples(data, "train", drawn.tolist())


def texts_of(data: TextDataModule, split: str, index: Sequence[int]) -> Texts:
    """Return the texts of some examples, with the call that makes of them what the models are given."""
    rows = data.splits[split]
    names = [name for name in ("text", "text_pair") if name in rows.column_names]
    texts = [tuple(rows[i][name] for name in names) for i in index]
    return Texts(texts, tokenizer_call(data.tokenizer, len(names), data.max_length))


def tokenizer_call(tokenizer: PreTrainedTokenizerBase, num_texts: int, max_length: int) -> Call:
    """Make token ids of batches of texts, cut and with special tokens, on one thread."""
    template = template_of(tokenizer, num_texts)

    def call(batch: Sequence[Sequence[str]]) -> list[list[int]]:
        with one_thread():
            encoded = encode(list(zip(*batch, strict=True)), tokenizer, template, max_length)
        return [template.ids(texts) for texts in encoded]

    return call


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep the tokenizers library to one thread; it takes all cores else, whatever torch was told."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before
