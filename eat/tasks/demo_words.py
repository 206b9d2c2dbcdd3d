"""Words and sentence frames of the demo corpus, read from ``demo_words.yaml``."""

import dataclasses
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml


@dataclasses.dataclass(frozen=True)
class Lexicon:
    """What the sentences of one split are made of; ``demo_words.yaml`` says what each part is."""

    words: Mapping[str, tuple[str, ...]]
    places: Mapping[str, tuple[str, ...]]
    frames: Mapping[str, tuple[str, ...]]
    openers: tuple[str, ...]
    closers: tuple[str, ...]


def _words(table: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(word.replace("_", " ") for word in text.split()) for key, text in table.items()}


def _polar(name: str) -> dict[int, tuple[str, ...]]:
    words = _words(_SAVED[name])
    return {1: words["praise"], 0: words["blame"]}


def _lexicon(split: str) -> Lexicon:
    saved = _SAVED[split]
    frames = {difficulty: tuple(phrases) for difficulty, phrases in saved["frames"].items()}
    places, words = _words(saved["places"]), _words(saved["words"])
    return Lexicon(words, places, frames, tuple(saved["openers"]), tuple(saved["closers"]))


_SAVED: dict[str, Any] = yaml.safe_load((files("eat.tasks") / "demo_words.yaml").read_text(encoding="utf-8"))

ADJECTIVES, VERBS, STEMS = map(_polar, ("adjectives", "verbs", "stems"))
CUES = frozenset(_SAVED["cues"])
SHARED = _words(_SAVED["cues"] | _SAVED["intensifiers"])
TRAIN, VALIDATION = _lexicon("train"), _lexicon("validation")
