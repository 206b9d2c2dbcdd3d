"""Answer a window of rows: equal texts once, batches of like length, and the drift guard in the order of the input."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from eat.deployment.encoding import Encoded
from eat.deployment.prediction.engines import Engine
from eat.deployment.prediction.reading import Row
from eat.deployment.prediction.tally import Answer
from eat.deployment.runner import OnnxOutput, answers_of

if TYPE_CHECKING:
    from eat.packed import AdaptiveOutput

OBSERVED_AT_ONCE = 32  # answers that a guard takes note of before it is asked whether it fired


@runtime_checkable
class Guard(Protocol):
    """What is asked of `eat.monitoring.DriftGuard`."""

    @property
    def fired(self) -> tuple[str, ...]:
        """Sources that have drifted."""

    def observe(self, output: AdaptiveOutput) -> bool:
        """Take note of answers; return whether traffic has drifted."""

    def __call__(self, *inputs: Any, **more: Any) -> AdaptiveOutput:
        """Answer, at full depth once it has fired."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as JSON values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""


class Cache(OrderedDict[str, Answer]):
    """Answers by a digest of the exact text, the least recently used first; at most ``size`` of them."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def find(self, key: str) -> Answer | None:
        """Return the answer, which is then the most recently used."""
        if key in self:
            self.move_to_end(key)
        return self.get(key)

    def keep(self, key: str, answer: Answer) -> None:
        """Remember an answer."""
        self[key] = answer
        if len(self) > self.size:
            self.popitem(last=False)


class Answering:
    """Answers windows of rows, one after the other.

    Args:
        engine: What answers.
        batch_size: Texts in a call.
        cache: Answers that are remembered.
        truncate: Cut long texts; False refuses them.
        guard: What watches the answers, or None.
        fallback: What answers once the guard has fired: the guard's own call.
        label_threshold: Labels of a multi-label model apply where their probability is above it.
        probabilities: Keep the probability of each class or label.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        batch_size: int,
        cache: int = 0,
        truncate: bool = True,
        guard: Guard | None = None,
        fallback: Engine | None = None,
        label_threshold: float = 0.5,
        probabilities: bool = False,
    ) -> None:
        self.engine, self.batch_size, self.truncate = engine, batch_size, truncate
        self.guard, self.fallback = guard, fallback
        self.label_threshold, self.probabilities = label_threshold, probabilities
        self.cache = Cache(cache)

    def window(self, rows: Sequence[Row]) -> tuple[list[Answer | None], int]:
        """Answer rows in their order, None where there is no text; return also how many answers were remembered.

        Raises:
            ValueError: If a text is longer than the model takes and must not be cut.
        """
        fired = self._fired()
        answers: list[Answer | None] = [None] * len(rows)
        waiting: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            if row.texts is None:
                continue
            key = _key(row.texts) if self.cache.size else str(place)
            answers[place] = self.cache.find(key)
            if answers[place] is None:
                waiting.setdefault(key, []).append(place)
        found = self._answer([rows[places[0]] for places in waiting.values()])
        for (key, places), answer in zip(waiting.items(), found, strict=True):
            for place in places:
                answers[place] = answer
            if self.cache.size and answer is not None:
                self.cache.keep(key, answer)
        if self._fired() != fired:
            self.cache.clear()  # of answers at the operating point that is given up
        readable = sum(row.texts is not None for row in rows)
        return answers, readable - len(waiting)

    def state(self) -> dict[str, Any]:
        """Return what later answers depend on, as JSON values; nothing where they depend on nothing."""
        if not self.cache.size and self.guard is None:
            return {}
        cache = [[key, *dataclasses.astuple(answer)] for key, answer in self.cache.items()]
        return {"cache": cache, "guard": None if self.guard is None else self.guard.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        for key, *values in state["cache"]:
            self.cache[key] = Answer(*values)
        if self.guard is not None:
            self.guard.load_state_dict(state["guard"])

    def _fired(self) -> bool:
        return self.guard is not None and bool(self.guard.fired)

    def _answer(self, rows: Sequence[Row]) -> list[Answer | None]:
        encoded = self.engine.encoder([row.texts or () for row in rows])
        for row, one in zip(rows, encoded, strict=True):
            if one.cut and not self.truncate:
                longest = self.engine.encoder.max_length
                raise ValueError(
                    f"truncate: {row.place}: {one.cut} tokens more than the {longest} that the model takes; "
                    "truncate=true cuts them off"
                )
        whole = [place for place, one in enumerate(encoded) if one.ids]  # a tokenizer may make nothing of a text
        answers: list[Answer | None] = [None] * len(rows)
        if whole:
            output = self._watched([encoded[place] for place in whole])
            said = answers_of(
                output,
                self.engine.labels,
                multi_label=self.engine.multi_label,
                label_threshold=self.label_threshold,
            )
            for place, found in zip(whole, said, strict=True):
                retention = _short(found.tokens_kept / found.tokens)
                answer = Answer(found.label, _short(found.score), found.exit_depth, retention, encoded[place].cut > 0)
                if self.probabilities:
                    answer = dataclasses.replace(answer, probabilities=[*map(_short, found.probabilities)])
                answers[place] = answer
        return answers

    def _watched(self, encoded: Sequence[Encoded]) -> OnnxOutput:
        """Answer, and let the guard see the answers in their order; behind its alarm all are at full depth."""
        if self.guard is None or self.fallback is None:
            return self._run(self.engine, encoded)
        if self.guard.fired:
            return self._run(self.fallback, encoded)
        output = self._run(self.engine, encoded)
        for end in range(OBSERVED_AT_ONCE, len(encoded) + OBSERVED_AT_ONCE, OBSERVED_AT_ONCE):
            if self.guard.observe(_tensors(_some(output, slice(end - OBSERVED_AT_ONCE, end)))):
                later = [self._run(self.fallback, encoded[end:])] if end < len(encoded) else []
                return _joined([_some(output, slice(end)), *later])
        return output

    def _run(self, engine: Engine, encoded: Sequence[Encoded]) -> OnnxOutput:
        """Answer in batches of like length, the longest first, and return the answers in the order given."""
        order = sorted(range(len(encoded)), key=lambda place: -len(encoded[place].ids))
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        output = _joined([engine.run_encoded([encoded[place] for place in batch]) for batch in batches])
        return _some(output, np.argsort(order))


def _some(output: OnnxOutput, index: Any) -> OnnxOutput:
    return OnnxOutput(output.logits[index], output.exit_depth[index], output.tokens_kept[index])


def _joined(outputs: Sequence[OnnxOutput]) -> OnnxOutput:
    columns = zip(*((one.logits, one.exit_depth, one.tokens_kept) for one in outputs), strict=True)
    return OnnxOutput(*map(np.concatenate, columns))


def _tensors(output: OnnxOutput) -> AdaptiveOutput:
    """Return an output as a guard reads it; what a guard watches is a model in torch, which is there."""
    import torch

    from eat.packed import AdaptiveOutput

    logits, exit_depth, tokens_kept = map(torch.from_numpy, (output.logits, output.exit_depth, output.tokens_kept))
    return AdaptiveOutput(logits=logits, exit_depth=exit_depth, tokens_kept=tokens_kept)


def _key(texts: Sequence[str]) -> str:
    """Name a text or a pair; the lengths keep two pairs with the same characters apart."""
    named = f"{[len(text) for text in texts]}{''.join(texts)}"
    return hashlib.blake2b(named.encode(), digest_size=16).hexdigest()


def _short(value: float) -> float:
    """Return the shortest number that is the same in float32, in which it was computed."""
    return float(str(np.float32(value)))
