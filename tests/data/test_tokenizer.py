"""Vocabularies made from texts: what is in them, and that they are the same everywhere."""

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, pipeline

from eat.data.tokenizer import SPECIAL_TOKENS, load_tokenizer, train_tokenizer
from eat.deployment.export import templates_of

TEXTS = ["The soup was good.", "The soup was not good!", "Was the plot good?", "Anna: the plot was bad", "Das Café, 1€"]
# The file alone, without the package, whose import takes longer than all the rest.
MAKE = """
import runpy
train_tokenizer = runpy.run_path("eat/data/tokenizer.py")["train_tokenizer"]
print(train_tokenizer({texts!r}, {size}).backend_tokenizer.to_str())
"""


def pieces(tokenizer, text):
    return tokenizer.tokenize(text)


def vocabulary(tokenizer):
    return tokenizer.convert_ids_to_tokens(range(len(tokenizer)))


def test_frequent_words_are_whole_and_new_words_fall_into_pieces_of_the_others():
    # 5 special tokens and 3 characters leave 4 places: 2 for the most frequent words, 2 for pieces of the other word.
    tokenizer = train_tokenizer(["ab ab ab aab aab aab"] * 2 + ["aaab"], vocab_size=len(SPECIAL_TOKENS) + 7)
    assert vocabulary(tokenizer) == [*SPECIAL_TOKENS, "##b", "a", "##a", "aab", "ab", "##aa", "##aab"]
    assert pieces(tokenizer, "AB aab aaab abb") == ["ab", "aab", "a", "##aab", "ab", "##b"]
    assert pieces(tokenizer, "abc") == ["[UNK]"]


def test_text_is_read_as_bert_reads_it():
    tokenizer = train_tokenizer(TEXTS, vocab_size=200)
    assert pieces(tokenizer, "das cafe , 1€ Was good!") == ["das", "cafe", ",", "1€", "was", "good", "!"]


def test_room_for_few_characters_keeps_the_most_frequent():
    tokenizer = train_tokenizer(["aaab ccc a"], vocab_size=len(SPECIAL_TOKENS) + 2)
    assert vocabulary(tokenizer)[5:] == ["##a", "##c"]


def test_special_tokens_and_types_of_a_pair():
    tokenizer = train_tokenizer(TEXTS)
    encoded = tokenizer("soup", "good plot")
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    assert tokens == ["[CLS]", "soup", "[SEP]", "good", "plot", "[SEP]"]
    assert encoded["token_type_ids"] == [0, 0, 0, 1, 1, 1]
    assert (tokenizer.pad_token_id, tokenizer.mask_token) == (0, "[MASK]")


def test_neither_the_order_of_texts_nor_the_process_matters():
    here = train_tokenizer(TEXTS, 60)
    assert vocabulary(here) == vocabulary(train_tokenizer(TEXTS[::-1], 60))
    there = subprocess.run(
        [sys.executable, "-c", MAKE.format(texts=TEXTS, size=60)],
        env={"PYTHONHASHSEED": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here.backend_tokenizer.to_str()


def test_saved_tokenizers_load_with_auto_tokenizer_and_in_a_pipeline(tmp_path):
    tokenizer = train_tokenizer(TEXTS, 60)
    tokenizer.save_pretrained(tmp_path)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded("The soup, and Anna?", "1€")["input_ids"] == tokenizer("The soup, and Anna?", "1€")["input_ids"]
    answers = pipeline("text-classification", model=str(tmp_path), device="cpu")(TEXTS)
    assert {answer["label"] for answer in answers} <= {"LABEL_0", "LABEL_1"}


@pytest.mark.parametrize(
    ("texts", "vocab_size", "message"),
    [
        (["a"], 5, "vocab_size: expected more than the 5 special tokens, got 5"),
        ([], 100, "texts: expected at least one word to make a vocabulary from, got none"),
        (["", " \t"], 100, "texts: expected at least one word"),
    ],
)
def test_bad_input_is_refused(texts, vocab_size, message):
    with pytest.raises(ValueError, match=message):
        train_tokenizer(texts, vocab_size)


@pytest.mark.parametrize("damage", ["{", '{"added_tokens": 1.5}', '{"added_tokens": [{}]}', "1.5"])
def test_a_damaged_tokenizer_is_refused_in_a_line(tmp_path, damage):
    train_tokenizer(["one two"]).save_pretrained(tmp_path)
    load_tokenizer("retrofit", tmp_path, "save it")
    (tmp_path / "tokenizer.json").write_text(damage)
    with pytest.raises(ValueError, match=r"retrofit: no tokenizer in .* can be read \(.+\); save it$") as caught:
        load_tokenizer("retrofit", tmp_path, "save it")
    assert "\n" not in str(caught.value)


def test_an_encoder_of_one_type_gets_no_other(tmp_path):
    plain = train_tokenizer(TEXTS)
    single = train_tokenizer(TEXTS, pair_types=False)
    single.save_pretrained(tmp_path)
    for tokenizer in (single, AutoTokenizer.from_pretrained(tmp_path)):
        pair = tokenizer(TEXTS[0], TEXTS[1])
        assert pair["input_ids"] == plain(TEXTS[0], TEXTS[1])["input_ids"]
        assert set(pair.get("token_type_ids", [0])) == {0}
        assert {one.text_types[-1] for one in templates_of(tokenizer)} == {0}
        assert tokenizer.pad_token_id == plain.pad_token_id and tokenizer.sep_token_id == plain.sep_token_id
