"""The parts of the suite that compare times: which contenders meet on which examples."""

from collections.abc import Iterator, Sequence
from typing import Any

from eat.benchmark.contenders import ALL_OFF, PADDED, Contender, ours
from eat.benchmark.engines import EAT, Encoded
from eat.benchmark.engines.packed import packed_call
from eat.benchmark.protocol import batches_of
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.sharing import all_off, variant
from eat.suite.contest import Contest
from eat.suite.workbench import ALL_LEAVE, PRUNER, WINDOW, Workbench

WINDOWED = {"name": "windowed", "window": WINDOW}
PRUNED, PRUNED_EXITS = "eat_pruned", "eat_pruned_half_exit"
ALL_EXIT, STATIC = "eat_all_exit_at_a_third", "static_first_third"
WINDOWED_NAME, WINDOWED_PRUNED = f"eat_windowed{WINDOW}", f"eat_windowed{WINDOW}_pruned"
WINDOWED_HALF = f"{WINDOWED_NAME}_half_length"
LONG = 64
"""Tokens from which on batch size 1 counts as long."""
POOL_BATCH = 32
PLAIN, POOL = "eat_half_exit_batches", "eat_half_exit_pool"
STREAM = 4
"""So many times the examples of another comparison: a pool needs many batches to draw from."""


def serving(bench: Workbench) -> Iterator[Contest]:
    """Ours with everything off against Hugging Face and ONNX Runtime: as a gateway, as a queue, and on long texts."""
    for data_set, size in (("sst2", 1), ("sst2", 32), ("imdb", 8)):
        yield Contest(
            inputs=data_set,
            batch_size=size,
            examples=bench.examples(data_set),
            entrants=bench.baselines(grouped=size > 1),
            baselines=[PADDED, ALL_OFF],
            min_batches=16 if size == 1 else 2,
        )


def pruning(bench: Workbench) -> Iterator[Contest]:
    """The paper's pruning over everything off, without exits and where half the examples leave early."""
    pruned = bench.pruned
    on_gpu = bench.settings.torch_device.type == "cuda"
    sizes = ((1, 1), (1, LONG), (8, 1), (32, 1), (128, 1)) if on_gpu else ((1, 1), (1, LONG), (32, 1))
    for size, at_least in sizes:
        data_set = "sst2" if at_least == 1 else "imdb"
        examples = bench.examples(data_set, at_least)
        yield Contest(
            inputs=data_set if at_least == 1 else f"{data_set} from {at_least} tokens",
            batch_size=size,
            examples=examples,
            entrants=[bench.all_off, ours(PRUNED, pruned), ours(PRUNED_EXITS, bench.half_leave(pruned, examples))],
            baselines=[ALL_OFF],
            min_batches=16 if size == 1 else 2,
        )


def depth(bench: Workbench) -> Iterator[Contest]:
    """Every example leaves after a third of the layers, beside the static model of that depth."""
    leaving = variant(bench.model, exit=ALL_LEAVE)
    for size in (1, 32):
        yield Contest(
            inputs="sst2",
            batch_size=size,
            examples=bench.examples("sst2"),
            entrants=[bench.all_off, ours(ALL_EXIT, leaving), ours(STATIC, bench.static)],
            baselines=[ALL_OFF],
            min_batches=16 if size == 1 else 2,
        )


def windowed(bench: Workbench) -> Iterator[Contest]:
    """Windowed over full attention in the whole encoder, one sequence at a time, and over itself at half the length."""
    model = variant(bench.model, attention=WINDOWED)
    for length in bench.settings.lengths:
        yield Contest(
            inputs="one length",
            length=length,
            batch_size=1,
            examples=bench.examples_of(length, 4),
            entrants=[bench.all_off, ours(WINDOWED_NAME, model), _on_first_half(model)],
            baselines=[ALL_OFF, WINDOWED_NAME],
        )


def curves(bench: Workbench) -> Iterator[Contest]:
    """Cost over length and batch size; all examples of a batch are as long, so that nothing is padded."""
    window = variant(bench.model, attention=WINDOWED)
    pruned = variant(window, pruner=PRUNER)
    entrants = [bench.padded, bench.all_off, ours(WINDOWED_NAME, window), ours(WINDOWED_PRUNED, pruned)]
    for size in bench.settings.curve_batch_sizes:
        for length in bench.settings.curve_lengths:
            if size * length <= bench.settings.curve_tokens:
                yield Contest(
                    inputs="one length",
                    length=length,
                    batch_size=size,
                    examples=bench.examples_of(length, 4 * size),
                    entrants=entrants,
                    baselines=[PADDED, ALL_OFF],
                )


def pool(bench: Workbench) -> Iterator[Contest]:
    """All examples at once at the point where half leave early: batch after batch of 32, and pooled."""
    examples = bench.examples("sst2", times=STREAM)
    model = bench.half_leave(bench.model, examples)

    def pooled(stream: Sequence[Encoded]) -> list[Any]:
        return list(model.predict_stream(stream, batch_size=POOL_BATCH))

    yield Contest(
        inputs="sst2, in one stream",
        batch_size=len(examples),
        examples=examples,
        entrants=[
            _in_batches(ALL_OFF, all_off(bench.model)),
            _in_batches(PLAIN, model),
            Contender(POOL, EAT, pooled, model),
        ],
        baselines=[PLAIN, ALL_OFF],
    )


def _on_first_half(model: AdaptiveForSequenceClassification) -> Contender:
    """Enter a model that is given the first half of each sequence: its speed-up over itself is how cost grows."""
    call = packed_call(model)

    def on_half(batch: Sequence[Encoded]) -> Any:
        return call([{key: tokens[: len(tokens) // 2] for key, tokens in example.items()} for example in batch])

    return Contender(WINDOWED_HALF, EAT, on_half)


def _in_batches(name: str, model: AdaptiveForSequenceClassification) -> Contender:
    answer = packed_call(model)

    def call(examples: Sequence[Encoded]) -> list[Any]:
        return [answer(batch) for batch in batches_of(examples, POOL_BATCH)]

    return Contender(name, EAT, call, model)
