"""The part about the survivor pool: a stream of examples against the same model on plain batches."""

from collections.abc import Iterator, Sequence
from typing import Any

from eat.benchmark.contenders import ALL_OFF, Contender
from eat.benchmark.engines import Call, Encoded
from eat.benchmark.engines.packed import packed_call
from eat.benchmark.protocol import batches_of
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.sharing import all_off
from eat.suite.contest import Contest, Entrant
from eat.suite.workbench import Workbench

BATCH_SIZE = 32
PLAIN, POOL = "eat_half_exit_batches", "eat_half_exit_pool"
STREAM = 4
"""So many times the examples of another comparison: a pool needs many batches to draw from."""


def pool(bench: Workbench) -> Iterator[Contest]:
    """All examples at once at the point where half leave early: batch after batch of 32, and pooled."""
    examples = bench.examples("sst2", times=STREAM)
    model = bench.half_leave(bench.model, examples)
    yield Contest(
        inputs="sst2, in one stream",
        batch_size=len(examples),
        examples=examples,
        entrants=[
            _in_batches(ALL_OFF, all_off(bench.model)),
            _in_batches(PLAIN, model),
            Entrant(Contender(POOL, "eat", _pooled(model)), model),
        ],
        baselines=[PLAIN, ALL_OFF],
    )


def _in_batches(name: str, model: AdaptiveForSequenceClassification) -> Entrant:
    answer = packed_call(model)

    def call(examples: Sequence[Encoded]) -> list[Any]:
        return [answer(batch) for batch in batches_of(examples, BATCH_SIZE)]

    return Entrant(Contender(name, "eat", call), model)


def _pooled(model: AdaptiveForSequenceClassification) -> Call:
    def call(examples: Sequence[Encoded]) -> list[Any]:
        return list(model.predict_stream(examples, batch_size=BATCH_SIZE))

    return call
