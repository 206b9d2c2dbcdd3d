"""Held-out splits: nothing leaks, sizes, determinism; SST-2's sentences beside a slow reference and on the real set."""

import dataclasses
import logging
from collections import Counter

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from eat.data.splits import Carved, carve, summarise_splits
from eat.tasks import build_task
from eat.tasks.leakage import PhraseIndex, SharedColumns, WholeSentences, maximal_phrases
from eat.tasks.public import PublicTask
from eat.tasks.units import row_texts


def named(_name: str, **changes: object) -> PublicTask:
    task = build_task({"name": _name})
    assert isinstance(task, PublicTask)
    return dataclasses.replace(task, **changes)


# Tasks without a rule, of single texts and of pairs.
FILE = named("cola", name="file", group_by=None)
PAIRS = named("qqp", name="mine", source_columns=("premise", "hypothesis"), group_by=None)

PREMISES = dataclasses.replace(PAIRS, group_by=SharedColumns(("text",)))


def rows(texts: list[str], **more: list) -> Dataset:
    return Dataset.from_dict({"text": texts, **more, "label": [i % 2 for i in range(len(texts))]})


def texts_of(*splits: Dataset) -> set[tuple[str, ...]]:
    return {texts for split in splits for texts in row_texts(split)}


def assert_disjoint(carved: Carved) -> None:
    train, threshold, certification = (texts_of(split) for split in carved)
    assert not train & threshold
    assert not train & certification
    assert not threshold & certification


def inside(phrase: str, sentence: str) -> bool:
    """Compare word by word: the slow, obvious way."""
    short, long = phrase.split(), sentence.split()
    return any(long[i : i + len(short)] == short for i in range(len(long) - len(short) + 1))


def test_equal_texts_never_stand_on_both_sides() -> None:
    train = rows([f"Text  {i % 100}" if i % 3 else f"text {i % 100}" for i in range(400)])
    carved = carve(named("cola"), train, threshold_examples=30, certification_examples=60, seed=0)
    assert_disjoint(carved)
    assert [len(split) for split in carved] == [312, 28, 15]  # units of four rows; certificates count one of each
    assert len(set(texts_of(carved.certification))) == 15
    assert carved.certification.column_names == ["text", "label"]


def test_pairs_are_grouped_by_both_texts_or_by_either_as_the_task_reports() -> None:
    pairs = {"texts": [f"premise {i // 3}" for i in range(300)], "text_pair": [f"hypothesis {i}" for i in range(300)]}
    train = rows(**pairs)
    for task, shares_premises in (("qqp", True), ("mnli", False), ("qnli", False)):
        carved = carve(named(task), train, threshold_examples=30, certification_examples=60, seed=0)
        assert_disjoint(carved)
        trained_on = {first for first, _ in texts_of(carved.train)}
        held_out = {first for first, _ in texts_of(carved.threshold, carved.certification)}
        assert bool(trained_on & held_out) is shares_premises
        certified = [first for first, _ in texts_of(carved.certification)]
        assert shares_premises or (len(certified) == len(set(certified)) == 20)  # of three hypotheses each


def test_the_row_that_stands_for_a_unit_is_drawn_and_not_the_first_by_its_text() -> None:
    pairs = [(f"premise {i // 10}", f"{'abcdefghij'[i % 10]} hypothesis") for i in range(3000)]
    train = rows([a for a, _ in pairs], text_pair=[b for _, b in pairs])
    carved = carve(PREMISES, train)
    found = Counter(hypothesis[0] for _, hypothesis in row_texts(carved.certification))
    assert sum(found.values()) == 60
    assert len(found) == 10
    assert max(found.values()) < 20


def premises(num_rows: int, sharing: int) -> Dataset:
    """Make pairs of which so many share their premise with one other."""
    texts = [f"premise {i // 2 if i < sharing else i}" for i in range(num_rows)]
    return rows(texts, text_pair=[f"hypothesis {i}" for i in range(num_rows)])


def test_a_text_that_repeats_across_pairs_without_a_rule_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    carve(PAIRS, premises(400, sharing=4))
    (message,) = warnings_of(caplog)
    assert "\n" not in message
    assert "task=mine: of 400 training rows 4 share their text in column 'premise' with another pair" in message
    assert "type data.group_by=premise " in message
    caplog.clear()
    carve(named("mnli"), premises(400, sharing=400))
    carve(named("qqp"), premises(400, sharing=400))  # its rule is to keep only equal pairs together
    carve(PAIRS, premises(400, sharing=2))  # under 1 %
    carve(FILE, rows([f"text {i // 4}" for i in range(400)]))  # equal texts stay together anyhow
    twice = premises(400, sharing=0)
    carve(PAIRS, rows(twice["text"][:] * 2, text_pair=twice["text_pair"][:] * 2))
    assert not warnings_of(caplog)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_the_warning_names_every_column_that_repeats(caplog: pytest.LogCaptureFixture) -> None:
    texts = [(f"premise {i // 2}", f"hypothesis {i % 200}") for i in range(400)]
    carve(PAIRS, rows([a for a, _ in texts], text_pair=[b for _, b in texts]))
    assert "400 share their text in column 'premise' and 400 share their text in column 'hypothesis'" in caplog.text
    assert "type data.group_by=[premise,hypothesis] " in caplog.text


def test_a_carve_depends_on_seed_and_text_only() -> None:
    train = rows([f"text {i}" for i in range(200)])
    shuffled = train.select(list(range(199, -1, -1)))
    first = carve(FILE, train, seed=3)
    assert [len(split) for split in first] == [140, 20, 40]  # a tenth and a fifth: the task is small
    for split, other in zip(first, carve(FILE, shuffled, seed=3), strict=True):
        assert texts_of(split) == texts_of(other)
    assert texts_of(first.threshold) != texts_of(carve(FILE, train, seed=4).threshold)


def test_scores_and_zero_examples() -> None:
    train = Dataset.from_dict({"text": [f"t{i}" for i in range(50)], "label": [i / 10 for i in range(50)]})
    carved = carve(named("stsb"), train, threshold_examples=0, certification_examples=5, seed=0)
    assert [len(split) for split in carved] == [45, 0, 5]


def test_small_sets_give_one_row_each_and_smaller_ones_are_refused() -> None:
    assert [len(split) for split in carve(FILE, rows([f"t{i}" for i in range(8)]))] == [6, 1, 1]
    with pytest.raises(ValueError, match=r"file: 2 training rows \(2 independent texts\) are too few to hold out"):
        carve(FILE, rows(["a", "b"]))
    with pytest.raises(ValueError, match=r"expected 0 or more, got -1 and 5"):
        carve(FILE, rows(["a", "b"]), threshold_examples=-1, certification_examples=5)


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=6).map(" ".join), max_size=30))
def test_maximal_phrases_beside_the_slow_reference(phrases: list[str]) -> None:
    distinct = set(phrases)
    expected = {one for one in distinct if not any(one != other and inside(one, other) for other in distinct)}
    assert set(maximal_phrases(phrases)) == expected
    assert len(maximal_phrases(phrases)) == len(expected)
    index = PhraseIndex(sorted(expected))
    for probe in (*distinct, "a b", "c a", "b b b"):
        assert (probe in index) == any(inside(probe, sentence) for sentence in expected)


def test_words_are_matched_whole() -> None:
    assert "art" not in PhraseIndex(["smart party"])
    assert "" not in PhraseIndex(["smart party"])


def test_every_phrase_of_a_held_out_sentence_leaves_training(caplog: pytest.LogCaptureFixture) -> None:
    sentences = [f"the film number{i} is quite good{i} ." for i in range(60)]
    phrases = [phrase for i in range(60) for phrase in (f"number{i} is", f"quite good{i} .", "the film")]
    train = rows([*sentences, *phrases, "too short"])
    assert {unit.key for unit in WholeSentences().units(train)} == set(sentences)
    with caplog.at_level(logging.INFO):
        carved = carve(named("sst2"), train, threshold_examples=5, certification_examples=10, seed=0)
    held_out = texts_of(carved.threshold, carved.certification)
    assert held_out <= {(sentence,) for sentence in sentences}
    assert (len(carved.threshold), len(carved.certification)) == (5, 10)
    for (phrase,) in texts_of(carved.train):
        assert not any(inside(phrase, sentence) for (sentence,) in held_out)
    # 15 sentences with two phrases each, and "the film", which stands 60 times
    assert len(carved.train) == len(train) - 15 - 30 - 60
    assert "5 are held out for thresholds, 10 for certification, 90 more leave with them" in caplog.text


def test_summary_counts_what_also_stands_in_train() -> None:
    splits = {"train": rows(["One two", "three"]), "validation": rows(["one  TWO", "four", "five six seven"])}
    assert summarise_splits(splits) == {
        "train": {"rows": 2, "mean_words": 1.5},
        "validation": {"rows": 3, "mean_words": 2.0, "rows_also_in_train": 1},
    }


@pytest.mark.data
def test_real_sst2() -> None:
    splits = build_task({"name": "sst2"}).load()
    carved = carve(named("sst2"), splits["train"], threshold_examples=500, certification_examples=1500, seed=0)
    assert (len(splits["train"]), len(carved.threshold), len(carved.certification)) == (67_349, 500, 1_500)
    assert 44_000 < len(carved.train) < 48_000
    sentences = WholeSentences().units(splits["train"])
    assert 6_500 < len(sentences) < 7_000
    held_out = [text.split() for (text,) in texts_of(carved.threshold, carved.certification)]
    runs = {tuple(words[i:j]) for words in held_out for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
    assert not [text for (text,) in texts_of(carved.train) if tuple(text.split()) in runs]
    summary = summarise_splits({**carved._asdict(), "validation": splits["validation"]})
    assert summary["validation"]["rows_also_in_train"] == 0
    for split in ("threshold", "certification"):
        assert summary[split]["mean_words"] == pytest.approx(summary["validation"]["mean_words"], rel=0.1)
    again = carve(named("sst2"), splits["train"], threshold_examples=500, certification_examples=1500, seed=0)
    assert all(one["text"][:] == other["text"][:] for one, other in zip(carved, again, strict=True))
