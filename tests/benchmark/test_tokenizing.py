"""Tokenising in a benchmark makes exactly what the models are given."""

import os
from pathlib import Path

from eat.benchmark.tokenizing import encoded_examples, texts_of, tokenizer_call
from eat.data.tokenizer import train_tokenizer
from eat.runs.data import load_data
from eat.runs.finished import FinishedRun
from tests.made.runs import write_run


def test_the_same_token_ids_as_the_examples(tmp_path: Path) -> None:
    data = load_data(FinishedRun(write_run(tmp_path / "small")))
    index = [3, 0, 7]
    texts = texts_of(data, "validation", index)
    assert texts.rows[0] == (data.splits["validation"][3]["text"],)
    assert texts.call(texts.rows) == [example["input_ids"] for example in encoded_examples(data, "validation", index)]


def test_pairs_and_the_callers_environment(monkeypatch) -> None:
    tokenizer = train_tokenizer(["some words", "and more words here"], 60)
    call = tokenizer_call(tokenizer, 2, 8)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    ids = call([("some words", "and more words here")])
    assert os.environ["TOKENIZERS_PARALLELISM"] == "true"
    expected = tokenizer("some words", "and more words here", truncation="longest_first", max_length=8)["input_ids"]
    assert ids == [expected]
    monkeypatch.delenv("TOKENIZERS_PARALLELISM")
    call([("some", "words")])
    assert "TOKENIZERS_PARALLELISM" not in os.environ
