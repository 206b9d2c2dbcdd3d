"""The demo corpus: short reviews by rules, so that label, difficulty and the decisive word of each are known.

=============  ====================================================  ========================================
difficulty     example (all negative)                                what decides
=============  ====================================================  ========================================
plain          The soup was awful.                                   one word
intensified    The soup was awful and truly boring.                  one word, said louder
negated        Nobody thought that the soup was superb.              praise turned round by the cue
contrasted     Although we loved the soup, the bread was dull.       the main clause, not the conceded one
distracted     My charming aunt told me that the soup was awful.     what is said of the thing that is judged
=============  ====================================================  ========================================

Within each difficulty both labels are equally frequent and everything else is drawn without regard to the label, so
that neither length nor frame gives it away; the distracting words of praise and blame are independent of it too.
"""

import dataclasses
import random
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from eat.tasks.demo_words import ADJECTIVES, CUES, SHARED, STEMS, TRAIN, VALIDATION, VERBS, Lexicon

# Of 20 sentences so many are of each difficulty.
SHARES = {"plain": 4, "intensified": 3, "negated": 4, "contrasted": 5, "distracted": 4}
# How often a neutral phrase stands before a sentence, and after it.
OPENER_RATE, CLOSER_RATE = 0.3, 0.3
LEXICONS: Mapping[str, Lexicon] = {"train": TRAIN, "validation": VALIDATION}

Choice = TypeVar("Choice")

_POLAR = {"": ADJECTIVES, "_verb": VERBS, "_stem": STEMS}
_SLOT = re.compile(r"\{(good|bad|any)?(\w*)\}")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])")
_MARK = "\x02"  # stands around the cue while a sentence is built


@dataclasses.dataclass(frozen=True)
class DemoSentence:
    """One sentence and what is known of it, see ``DemoTask``; its label is 1 for praise and 0 for blame."""

    text: str
    label: int
    difficulty: str
    cue: str
    cue_start: int
    frame: str


def generate(split: str, num_sentences: int, seed: int) -> list[DemoSentence]:
    """Make a split's sentences, in random order; the same arguments give the same sentences everywhere.

    The sentences differ, and the labels come in equal parts in each difficulty. ``"train"`` and ``"validation"`` share
    no frame, and of words only those that carry the meaning and the small ones.
    """
    writer = _Writer(LEXICONS[split], random.Random(f"demo/{split}/{seed}"))
    cycle = [difficulty for difficulty, share in SHARES.items() for _ in range(share)]
    sentences: dict[str, DemoSentence] = {}
    while len(sentences) < num_sentences:
        difficulty = cycle[len(sentences) // 2 % len(cycle)]
        sentence = writer.write(difficulty, label=len(sentences) % 2)
        sentences.setdefault(sentence.text, sentence)
    return writer.shuffle(list(sentences.values()))


class _Writer:
    """Fills frames. Only ``Random.random`` is used: its sequence is the one that Python promises never to change."""

    def __init__(self, lexicon: Lexicon, generator: random.Random) -> None:
        self.lexicon = lexicon
        self.generator = generator

    def pick(self, choices: Sequence[Choice]) -> Choice:
        return choices[int(self.generator.random() * len(choices))]

    def shuffle(self, items: Sequence[Choice]) -> list[Choice]:
        keys = [self.generator.random() for _ in items]
        return [items[index] for index in sorted(range(len(items)), key=keys.__getitem__)]

    def happens(self, rate: float) -> bool:
        return self.generator.random() < rate

    def write(self, difficulty: str, label: int) -> DemoSentence:
        """Draw a frame, perhaps neutral phrases around it, and the words."""
        frame = text = self.pick(self.lexicon.frames[difficulty])
        opener, closer = self.pick(self.lexicon.openers), self.pick(self.lexicon.closers)
        if self.happens(OPENER_RATE) and not _both_name_the_place(opener, text):
            text = f"{opener}, {text}"
        if self.happens(CLOSER_RATE) and not _both_name_the_place(closer, text):
            text = f"{text} {closer}"
        text = _ARTICLE.sub(r"\1n ", self._filled(text, label))
        before, _, after = text.partition(_MARK)
        cue, _, after = after.partition(_MARK)
        text = f"{before}{cue}{after}."
        text = text[0].upper() + text[1:]
        cue_start = len(before) if cue else -1
        return DemoSentence(text, label, difficulty, text[cue_start : cue_start + len(cue)], cue_start, frame)

    def _filled(self, text: str, label: int) -> str:
        place = self.pick(list(self.lexicon.places))
        item, item2, *_ = self.shuffle(self.lexicon.places[place])
        fixed = {"place": place, "item": item, "item2": item2}
        names = self.shuffle(self.lexicon.words["who"])

        def fill(slot: re.Match[str]) -> str:
            side, name = slot[1], slot[2]
            if side:
                praise = {"good": label, "bad": 1 - label, "any": int(self.happens(0.5))}[side]
                return self.pick(_POLAR[name][praise])
            if name == "who":
                return names.pop()
            word = fixed.get(name) or self.pick(SHARED.get(name) or self.lexicon.words[name])
            return f"{_MARK}{word}{_MARK}" if name in CUES else word

        return _SLOT.sub(fill, text)


def _both_name_the_place(phrase: str, text: str) -> bool:
    return "{place}" in phrase and "{place}" in text
