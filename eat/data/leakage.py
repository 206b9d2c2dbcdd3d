"""What must not be torn apart between training and a held-out split, per task.

A rule follows how the task's own reported split was made: where that shares no text with train, neither may ours.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from datasets import Dataset

from eat.tasks.units import Unit, group_units, pair_key, row_strata, row_texts

MIN_SENTENCE_WORDS = 5


def same_text(train: Dataset) -> list[Unit]:
    """Keep rows with the same text together; of pairs, rows with the same two texts."""
    return group_units([[pair_key(texts)] for texts in row_texts(train)], row_strata(train))


def shared_text(train: Dataset) -> list[Unit]:
    """Keep pairs together that share either text: a premise with all its hypotheses, a passage with its questions."""
    return group_units(row_texts(train), row_strata(train))


def whole_sentences(train: Dataset) -> list[Unit]:
    """Rebuild SST-2's sentences: phrases of at least five words inside no longer phrase of train.

    GLUE's SST-2 trains on phrases cut from about 6,900 sentences and reports on whole ones. A unit is a sentence with
    all rows that repeat it; phrases inside it are in no unit, so they can be trained on or left out but never drawn.
    """
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, (text,) in enumerate(row_texts(train)):
        rows_of[text].append(row)
    strata = row_strata(train)
    sentences = [text for text in maximal_phrases(rows_of) if len(text.split()) >= MIN_SENTENCE_WORDS]
    return [Unit(text, tuple(rows_of[text]), strata[rows_of[text][0]]) for text in sentences]


UNITS: Mapping[str, Callable[[Dataset], list[Unit]]] = {
    "mnli": shared_text,  # of matched validation, under 1 % of the premises stand in train
    "qnli": shared_text,  # of validation, no question stands in train
    "sst2": whole_sentences,
}  # every other task: same_text


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
    """Sentences in which a phrase, as whole words in a row, is found through its rarest word."""

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
