"""Token arrays of a split and their cache."""

import errno
import logging

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset

from eat.data import tokenized
from eat.data.tokenized import tokenize
from tests.data.tokenizers import bert_like, roberta_like

TEXTS = ["the soup was good", "", "not good !", "a film , the plot"]
PAIRS = ["ok", "the film", "", "good soup"]


@pytest.fixture(scope="module")
def bert():
    return bert_like()


def texts(*rows, **columns):
    return Dataset.from_dict({"text": list(rows or TEXTS), **columns})


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("input_ids", "offsets", "token_type_ids")
    )


@pytest.fixture
def work(monkeypatch):
    """Count how often a split is really tokenised."""
    calls = []
    encode = tokenized.encode
    monkeypatch.setattr(tokenized, "encode", lambda *args: calls.append(1) or encode(*args))
    return calls


def test_arrays_hold_what_the_tokenizer_gives(bert):
    split = tokenize(texts(text_pair=PAIRS, label=[1, 0, 0, 1]), bert, max_length=8)
    expected = bert(TEXTS, PAIRS, truncation=True, max_length=8)
    assert len(split) == 4
    for i in range(4):
        span = slice(split.offsets[i], split.offsets[i + 1])
        assert split.input_ids[span].tolist() == expected["input_ids"][i]
        assert split.token_type_ids[span].tolist() == expected["token_type_ids"][i]
    assert split.lengths.tolist() == [len(ids) for ids in expected["input_ids"]]
    assert split.labels.tolist() == [1, 0, 0, 1]
    assert (split.input_ids.dtype, split.token_type_ids.dtype, split.offsets.dtype) == (np.int32, np.int32, np.int64)


def test_chunks_join(bert, monkeypatch):
    whole = tokenize(texts(), bert, max_length=8)
    monkeypatch.setattr(tokenized, "_CHUNK", 3)
    assert same(tokenize(texts(), bert, max_length=8), whole)


def test_without_labels_without_types_without_rows(bert):
    assert tokenize(texts(), bert, max_length=8).labels is None
    assert tokenize(texts(), roberta_like(), max_length=8).token_type_ids is None
    empty = tokenize(texts().select([]), bert, max_length=8)
    assert (len(empty), empty.lengths.tolist(), empty.input_ids.tolist()) == (0, [], [])


def test_a_second_run_reads_every_split_from_the_cache(bert, tmp_path, work):
    splits = [texts(label=[0, 1, 1, 0]), texts("good", "soup"), texts("", text_pair=["good"])]
    first = [tokenize(split, bert, max_length=8, cache_dir=tmp_path) for split in splits]
    bert("good", truncation=True, max_length=3, padding="max_length")  # a tokenizer remembers how it was last called
    again = [tokenize(split, bert, max_length=8, cache_dir=tmp_path) for split in splits]
    assert len(work) == 3
    assert all(same(one, other) for one, other in zip(first, again, strict=True))
    assert again[0].labels.tolist() == [0, 1, 1, 0]


def test_other_texts_another_length_or_tokenizer_are_tokenised_anew(bert, tmp_path, work):
    tokenize(texts("a b", "c"), bert, max_length=8, cache_dir=tmp_path)
    for rows, tokenizer, max_length in [
        (texts("a", "b c"), bert, 8),
        (texts("a b", text_pair=["c"]), bert, 8),
        (texts("a b", "c"), bert, 9),
        (texts("a b", "c"), roberta_like(), 8),
    ]:
        tokenize(rows, tokenizer, max_length=max_length, cache_dir=tmp_path)
    assert len(work) == len(list(tmp_path.iterdir())) == 5


def test_labels_are_not_cached(bert, tmp_path):
    tokenize(texts(label=[0, 1, 1, 0]), bert, max_length=8, cache_dir=tmp_path)
    assert tokenize(texts(label=[1, 1, 1, 1]), bert, max_length=8, cache_dir=tmp_path).labels.tolist() == [1] * 4


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip", None], ids=["empty", "garbage", "half"])
def test_a_damaged_cache_file_is_made_anew_and_said(bert, tmp_path, caplog, damage):
    expected = tokenize(texts(), bert, max_length=8, cache_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if damage is None else damage)
    with caplog.at_level(logging.WARNING):
        assert same(tokenize(texts(), bert, max_length=8, cache_dir=tmp_path), expected)
    assert f"tokenised text is made anew: {path} cannot be read" in caplog.text
    caplog.clear()
    assert same(tokenize(texts(), bert, max_length=8, cache_dir=tmp_path), expected)
    assert not caplog.records


def test_a_full_disk_costs_the_cache_alone(bert, tmp_path, caplog, monkeypatch):
    def full(handle, **arrays):
        handle.write(b"some")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with caplog.at_level(logging.WARNING):
        assert len(tokenize(texts(), bert, max_length=8, cache_dir=tmp_path)) == 4
    assert "tokenised text is not cached" in caplog.text and "No space left on device" in caplog.text
    assert not list(tmp_path.iterdir())


def test_bytes_that_are_no_utf8_are_refused(bert):
    offsets, data = pa.array([0, 4, 6], pa.int32()).buffers()[1], pa.py_buffer(b"good\xff\xfe")
    rows = Dataset(pa.table({"text": pa.StringArray.from_buffers(2, offsets, data)}))
    with pytest.raises(ValueError, match=r"text: expected valid UTF-8 text, got other bytes: .*0xff"):
        tokenize(rows, bert, max_length=8)


def test_bad_input_is_refused(bert):
    with pytest.raises(ValueError, match="text_pair: expected text in every row, got None in row 2"):
        tokenize(texts(text_pair=["a", "b", None, "c"]), bert, max_length=8)
    with pytest.raises(ValueError, match="max_length: expected more than the 3 special tokens, got 3"):
        tokenize(texts(text_pair=PAIRS), bert, max_length=3)
