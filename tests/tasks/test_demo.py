"""The demo corpus: what is known of its sentences is true, and nothing but the meaning gives the label away."""

import hashlib
import re
from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from eat.tasks import build_task
from eat.tasks.demo import DemoTask
from eat.tasks.demo_corpus import SHARES, generate
from eat.tasks.demo_words import ADJECTIVES, SHARED, STEMS, TRAIN, VERBS

POLAR = {word: praise for table in (ADJECTIVES, VERBS, STEMS) for praise, words in table.items() for word in words}


def words(text):
    return re.findall(r"[\w']+", text.lower())


@pytest.fixture(scope="module")
def splits():
    return {split: generate(split, 1_000, seed=0) for split in ("train", "validation")}


def accuracy(splits, features, texts=lambda sentence: sentence.text):
    """Fit a linear classifier on train and return what it gets right in validation."""
    train, validation = ([texts(sentence) for sentence in splits[split]] for split in ("train", "validation"))
    labels, expected = (np.array([s.label for s in splits[split]]) for split in ("train", "validation"))
    classifier = LogisticRegression(max_iter=300).fit(features.fit_transform(train), labels)
    return classifier.predict(features.transform(validation)) == expected


def test_the_task_is_built_by_name_and_says_what_it_is():
    task = build_task({"name": "demo", "train_rows": 60, "validation_rows": 20})
    assert (task.label_names, task.num_labels, task.kind) == (("negative", "positive"), 2, "classification")
    assert task.official_rows == {"train": 60, "validation": 20}
    splits = task.load()
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 60, "validation": 20}
    assert splits["train"].column_names == ["text", "label", "difficulty", "cue", "cue_start", "frame"]
    assert splits["train"]["text"][:] == task.load()["train"]["text"][:]


def test_the_default_corpus_is_large_enough_to_hold_rows_out():
    assert DemoTask().official_rows == {"train": 12_000, "validation": 1_500}


def test_the_same_sentences_everywhere_and_others_for_another_seed():
    text = "\n".join(f"{s.text}\t{s.label}\t{s.difficulty}\t{s.cue_start}" for s in generate("train", 100, seed=0))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "dc4e8bc502d53d8d"
    assert generate("train", 10, seed=0) != generate("train", 10, seed=1)


def test_sentences_differ_and_labels_are_balanced_in_every_difficulty(splits):
    for sentences in splits.values():
        assert len({s.text for s in sentences}) == len(sentences)
        labels = {d: [s.label for s in sentences if s.difficulty == d] for d in SHARES}
        assert {np.mean(values) for values in labels.values()} == {0.5}
    assert not {s.text for s in splits["train"]} & {s.text for s in splits["validation"]}


def test_validation_has_frames_and_words_of_its_own(splits):
    train, validation = splits["train"], splits["validation"]
    assert not {s.frame for s in train} & {s.frame for s in validation}
    tables = [TRAIN.words, TRAIN.places, TRAIN.frames, SHARED, {"": (*TRAIN.openers, *TRAIN.closers, *TRAIN.places)}]
    phrases = [phrase for table in tables for group in table.values() for phrase in group]
    known = set(words(re.sub(r"{\w+}", " ", " ".join(phrases)))) | POLAR.keys()  # what training sentences are made of
    unseen = [[word for word in words(s.text) if word not in known] for s in validation]
    assert min(map(len, unseen)) >= 1
    assert {word for s in train for word in words(s.text)} <= known | {"an"}
    assert {word for s in validation for word in words(s.text)} >= POLAR.keys() - set(sum(STEMS.values(), ()))


def test_the_label_follows_from_the_rule(splits):
    """Read each sentence without its frame: the words of praise and blame, the cue, what stands where."""
    for sentence in [*splits["train"], *splits["validation"]]:
        found = [(m.start(), POLAR[m[0]]) for m in re.finditer(r"\w+", sentence.text.lower()) if m[0] in POLAR]
        verdicts = [praise for _, praise in found]
        if sentence.difficulty in ("plain", "intensified"):
            assert set(verdicts) == {sentence.label}
        elif sentence.difficulty == "negated":
            assert verdicts == [1 - sentence.label]
        elif sentence.difficulty == "contrasted":
            between = found[0][0] < sentence.cue_start < found[1][0]
            conceded_last = between and sentence.cue.lower() in ("although", "though", "despite")
            assert sorted(verdicts) == [0, 1]
            assert verdicts[0 if conceded_last else 1] == sentence.label
        else:
            assert sentence.label in verdicts


def test_cues_stand_where_they_are_said_to(splits):
    for sentence in [*splits["train"], *splits["validation"]]:
        has_cue = sentence.difficulty in ("negated", "contrasted")
        assert has_cue == (sentence.cue_start >= 0) == bool(sentence.cue)
        if has_cue:
            assert sentence.text[sentence.cue_start :].startswith(sentence.cue)
    negations = Counter(s.cue.lower() for s in splits["train"] if s.difficulty == "negated")
    assert set(negations) == {"not", "never", "hardly", "nobody", "no one", "few of us"}


def test_sentences_read_like_sentences(splits):
    for sentence in [*splits["train"], *splits["validation"]]:
        assert re.fullmatch(r"[A-Z][A-Za-z', ]*\.", sentence.text), sentence
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  |[{}_]", sentence.text), sentence
        assert 3 <= len(words(sentence.text)) <= 45


def test_neither_length_nor_anything_but_praise_and_blame_gives_the_label_away(splits):
    neutral = accuracy(
        splits,
        CountVectorizer(ngram_range=(1, 2)),
        lambda s: " ".join(word for word in words(s.text) if word not in POLAR),
    )
    assert abs(neutral.mean() - 0.5) < 0.06
    lengths = {label: np.mean([len(s.text) for s in splits["train"] if s.label == label]) for label in (0, 1)}
    assert abs(lengths[0] - lengths[1]) < 2


def test_words_without_their_order_solve_plain_sentences_and_fail_on_hard_ones(splits):
    right = accuracy(splits, CountVectorizer())
    difficulty = np.array([s.difficulty for s in splits["validation"]])
    share = {name: right[difficulty == name].mean() for name in SHARES}
    assert min(share["plain"], share["intensified"]) > 0.85
    assert share["negated"] < 0.2
    assert abs(share["contrasted"] - 0.5) < 0.15
    assert share["distracted"] < 0.9


@pytest.mark.parametrize("option", ["train_rows", "validation_rows"])
def test_bad_input_is_refused(option):
    with pytest.raises(ValueError, match=f"task.{option}: expected an integer of 1 or more, got 0"):
        DemoTask(**{option: 0})
