"""Texts to token ids: as the tokenizer itself cuts and marks them, and in time for very long ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eat.data.encoding import encode, template_of
from eat.ops.truncation import kept_lengths
from tests.data.tokenizers import KINDS

ODD_TEXTS = {
    "empty": "",
    "one word": "good",
    "white space": " \t\n ",
    "emoji": "good 👍🏽 👩‍👩‍👧 soup",
    "nul": "good\0soup \0",
    "right to left": "مرحبا good שלום",
    "accents": "cafe\u0301 façade",
    "special tokens": "[SEP] good </s> [CLS]",
    "replacement": "good \ufffd\ufffd",
    "no spaces": "好" * 40,
}
TOKENIZERS = {name: make() for name, make in KINDS.items()}
words = st.lists(st.sampled_from(["good", "soup", "goodsoup", ",", "not", "好", "ünknown"]), max_size=12).map(" ".join)


def ours(tokenizer, texts, max_length):
    template = template_of(tokenizer, len(texts))
    (kept,) = encode([[text] for text in texts], tokenizer, template, max_length)
    return template.ids(kept), template.types(kept)


def theirs(tokenizer, texts, max_length):
    batch = [[text] for text in texts]  # asked for one pair with an empty second text, it forgets that it is a pair
    encoded = tokenizer(*batch, truncation="longest_first", max_length=max_length, return_token_type_ids=True)
    return encoded["input_ids"][0], encoded["token_type_ids"][0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_odd_texts_are_encoded_as_by_the_tokenizer(kind, text):
    tokenizer = TOKENIZERS[kind]
    for texts in ([text], [text, "good soup"], ["not good , soup", text], [text, text]):
        for max_length in (7, 8, 200):
            assert ours(tokenizer, texts, max_length) == theirs(tokenizer, texts, max_length)


@given(
    kind=st.sampled_from(sorted(KINDS)), texts=st.lists(words, min_size=1, max_size=2), max_length=st.integers(6, 30)
)
def test_texts_and_pairs_are_cut_as_by_the_tokenizer(kind, texts, max_length):
    tokenizer = TOKENIZERS[kind]
    assert ours(tokenizer, texts, max_length) == theirs(tokenizer, texts, max_length)


@given(lengths=st.lists(st.integers(0, 12), min_size=2, max_size=2), room=st.integers(1, 20))
def test_of_a_pair_the_longer_is_cut_first(lengths, room):
    kept = kept_lengths(lengths, room)
    cut = list(lengths)
    while sum(cut) > room:  # one token at a time, from the longer; which of two equals decides the odd token only
        cut[cut.index(max(cut))] -= 1
    assert sorted(kept) == sorted(cut)
    assert all(few <= many for few, many in zip(kept, lengths, strict=True))


def test_a_single_text_is_cut_at_the_room():
    assert kept_lengths([9], 4) == [4]
    assert kept_lengths([3], 4) == [3]


MILLION = {
    "words": ("good soup " * 100_000, "good soup good soup good soup"),
    "one word": ("x" * 1_000_000, "[UNK]"),
    "white space first": (" " * 1_000_000 + "good", "good"),
    "nothing but nul, then a word": ("\0" * 1_000_000 + "good", "good"),
    "no spaces": ("好" * 1_000_000, "[UNK] " * 6),
}


@pytest.mark.parametrize(("text", "start"), MILLION.values(), ids=MILLION)
def test_a_million_characters(text, start):
    tokenizer = TOKENIZERS["bert"]
    expected = tokenizer(start)["input_ids"]
    assert ours(tokenizer, [text], 8)[0] == expected


def test_two_texts_without_spaces_of_a_hundred_thousand_characters():
    # The tokenizers library would build (100,000 / 6)^2 rests.
    ids, types = ours(TOKENIZERS["bert"], ["好" * 100_000, "坏" * 100_001], 10)
    assert types == [0] * 5 + [1] * 5
    assert len(ids) == 10


def test_what_stands_far_behind_is_cut_without_a_trace():
    long = "soup good " * 5_000
    assert ours(TOKENIZERS["roberta"], [long], 12) == theirs(TOKENIZERS["roberta"], [long], 12)


def test_cutting_on_the_left_is_refused():
    tokenizer = KINDS["bert"]()
    tokenizer.truncation_side = "left"
    with pytest.raises(ValueError, match="expected a fast one with truncation_side='right', got a fast one with trunc"):
        template_of(tokenizer, 1)
