"""The committed lengths are the data sets', and examples made from them hold no padding."""

import numpy as np
import pytest

from eat.backbones.weights import resolve_weights
from eat.data.tokenized import tokenize
from eat.suite.inputs import draw_lengths, random_examples, real_lengths
from eat.tasks import build_task


@pytest.mark.parametrize(("name", "count", "longest"), [("sst2", 872, 55), ("imdb", 256, 512)])
def test_lengths_are_there(name, count, longest):
    lengths = real_lengths(name)
    assert len(lengths) == count
    assert (lengths.min() >= 3, lengths.max()) == (True, longest)  # [CLS], a word, [SEP]


@pytest.mark.data
@pytest.mark.parametrize(("name", "split"), [("sst2", "validation"), ("imdb", "test")])
def test_lengths_are_the_data_sets(name, split, tmp_path):
    transformers = pytest.importorskip("transformers")
    try:
        folder = resolve_weights("minilm", path=None, hub=None)
    except (FileNotFoundError, ValueError) as missing:
        pytest.skip(f"needs the tokenizer of MiniLM: {missing}")
    rows = build_task({"name": name}).load(cache_dir=tmp_path)[split]
    if name == "imdb":
        rows = rows.select(np.random.default_rng(0).permutation(25_000)[:256].tolist())
    counted = tokenize(rows, transformers.AutoTokenizer.from_pretrained(folder), max_length=512)
    np.testing.assert_array_equal(real_lengths(name), counted.lengths)


def test_examples_have_these_lengths_and_no_padding():
    examples = random_examples(np.array([3, 7, 2]), vocab_size=9, seed=0)
    assert [len(example["input_ids"]) for example in examples] == [3, 7, 2]
    assert {len(example["input_ids"]) - len(example["token_type_ids"]) for example in examples} == {0}
    assert {token for example in examples for token in example["input_ids"]} <= set(range(1, 9))
    assert examples == random_examples(np.array([3, 7, 2]), vocab_size=9, seed=0)


def test_drawn_lengths_are_not_repeated_and_long_enough():
    lengths = np.arange(1, 101)
    drawn = draw_lengths(lengths, 50, seed=0, at_least=61)
    assert sorted(drawn.tolist()) == list(range(61, 101))
    assert len(draw_lengths(lengths, 5, seed=0)) == 5
    assert drawn.tolist() == draw_lengths(lengths, 50, seed=0, at_least=61).tolist()
