"""Leakage rules: which training rows enter a held-out split together, so that nothing held out is also trained on.

Each task says its rule (``group_by``). It follows how the task's own reported split was made: where that shares no text
with train, neither may ours.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from datasets import Dataset

from eat.checks import as_typed, shown
from eat.tasks.units import Unit, group_units, normalise_text, pair_key, row_strata, row_texts

MIN_SENTENCE_WORDS = 5
SHARED_SHARE = 0.01
"""Part of the rows from which on a text that repeats beside other partners is called a leak."""

_log = logging.getLogger(__name__)


@runtime_checkable
class LeakageRule(Protocol):
    """Leakage rule: groups rows into units that a split takes whole."""

    def units(self, train: Dataset) -> list[Unit]:
        """Group the rows that may be held out into units."""

    def leaving_with(self, held_out: Sequence[Unit], train: Dataset) -> set[int]:
        """Find rows in no unit that may not be trained on either once these units are held out."""


@dataclass(frozen=True)
class SharedColumns:
    """Keep rows together that share the value of a column, or their whole text (a pair in either order).

    Values are the same up to case and white space. A premise stays with all its hypotheses, a passage with its
    questions; without columns only rows with equal texts stay together.

    Attributes:
        columns: ``text`` and ``text_pair``, whose texts count as the same in either place, or other columns of train,
            where a row without a value (null) shares none.
    """

    columns: tuple[str, ...] = ()

    def units(self, train: Dataset) -> list[Unit]:
        """Group rows that share a value, directly or through other rows."""
        keys = [[pair_key(texts)] for texts in row_texts(train)]
        for column in self.columns:
            namespace = "" if column in ("text", "text_pair") else f"{column}\x1e"
            for row_keys, value in zip(keys, train[column][:], strict=True):
                if value is not None:
                    row_keys.append(namespace + normalise_text(value))
        return group_units(keys, row_strata(train))

    def leaving_with(self, held_out: Sequence[Unit], train: Dataset) -> set[int]:
        """Find none: every row is in a unit."""
        return set()


@dataclass(frozen=True)
class WholeSentences:
    """Hold out whole sentences of SST-2 with every phrase inside them.

    GLUE's SST-2 trains on phrases cut from about 6,900 sentences and reports on whole ones. A unit is a phrase of at
    least five words inside no longer phrase of train, with all rows that repeat it; phrases inside it are in no unit,
    so they can be trained on or left out but never drawn.
    """

    def units(self, train: Dataset) -> list[Unit]:
        """Rebuild the sentences, one unit each."""
        rows_of: dict[str, list[int]] = defaultdict(list)
        for row, (text,) in enumerate(row_texts(train)):
            rows_of[text].append(row)
        strata = row_strata(train)
        sentences = [text for text in maximal_phrases(rows_of) if len(text.split()) >= MIN_SENTENCE_WORDS]
        return [Unit(text, tuple(rows_of[text]), strata[rows_of[text][0]]) for text in sentences]

    def leaving_with(self, held_out: Sequence[Unit], train: Dataset) -> set[int]:
        """Find the phrases inside held-out sentences."""
        sentences = PhraseIndex([unit.key for unit in held_out])
        return {row for row, (text,) in enumerate(row_texts(train)) if text in sentences}


SAME_TEXT = SharedColumns()
EITHER_TEXT = SharedColumns(("text", "text_pair"))


def warn_of_shared_texts(task_name: str, columns: Sequence[str], train: Dataset) -> None:
    """Warn where one text of a pair repeats across rows beside other partners, and no rule keeps such rows together.

    ``columns`` are the text columns of train as the source calls them, for the message.
    """
    rows = row_texts(train)
    shared = {}
    for place, column in enumerate(columns if len(columns) > 1 else ()):
        pairs: dict[str, set[str]] = defaultdict(set)
        for texts in rows:
            pairs[texts[place]].add(pair_key(texts))
        repeated = sum(len(pairs[texts[place]]) > 1 for texts in rows)
        if repeated and repeated >= SHARED_SHARE * len(rows):
            shared[column] = repeated
    if shared:
        found = " and ".join(
            f"{count:,} share their text in column {shown(column)}" for column, count in shared.items()
        )
        names = ",".join(map(as_typed, shared))
        _log.warning(
            "LEAKAGE: task=%s: of %s training rows %s with another pair, and no rule keeps such rows together: what is "
            "held out leaks into training, and no certificate will hold; type data.group_by=%s (or data.group_by=[] if "
            "that is meant; a task in code has group_by)",
            *(task_name, f"{len(rows):,}", found, names if len(shared) == 1 else f"[{names}]"),
        )


def maximal_phrases(phrases: Iterable[str]) -> list[str]:
    """Return the distinct phrases that are no contiguous run of words of a longer one, the longest first."""
    index = PhraseIndex()
    found = []
    for phrase in sorted(set(phrases), key=lambda text: (-len(text.split()), text)):
        if phrase not in index:
            index.add(phrase)
            found.append(phrase)
    return found


class PhraseIndex:
    """Index of sentences that finds a phrase, as whole words in a row, through its rarest word."""

    def __init__(self, sentences: Sequence[str] = ()) -> None:
        self._sentences: list[str] = []
        self._containing: dict[str, list[int]] = defaultdict(list)
        for sentence in sentences:
            self.add(sentence)

    def add(self, sentence: str) -> None:
        """Add a normalised sentence."""
        for word in set(sentence.split()):
            self._containing[word].append(len(self._sentences))
        self._sentences.append(f" {sentence} ")

    def __contains__(self, phrase: str) -> bool:
        candidates = min((self._containing.get(word, []) for word in phrase.split()), key=len, default=[])
        return any(f" {phrase} " in self._sentences[number] for number in candidates)
