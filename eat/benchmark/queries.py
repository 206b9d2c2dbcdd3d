"""One text at a time, as a service gets them: size, latency and accuracy of any classifiers, side by side.

The protocol of case studies in deployment (size of the saved weights in MiB, mean and standard deviation of the latency
of 100 queries after 10 warm-ups, tokenising included, accuracy on a test split), with two differences: queries are real
texts instead of one that is repeated, and classifiers take turns at each, so that what a machine does meanwhile
concerns all of them.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from eat.benchmark.clock import Clock
from eat.checks import shown, whole_number
from eat.tables import Row, Table
from eat.traces.statistics import mean_interval

Classify = Callable[[Any], object]
"""A text, or whatever else stands for one (a pair), -> its label."""

WEIGHTS = (".safetensors", ".bin", ".onnx", ".data", ".xml", ".pt")
"""Endings of files that hold weights, in the formats of the engines at hand."""
COLUMNS = (
    *("name", "size_mib", "latency_ms_mean", "latency_ms_std", "accuracy", "delta_points", "delta_low", "delta_high"),
    *("examples", "queries", "threads", "family"),
)
QUERIES = Table(
    COLUMNS,
    text=frozenset({"name", "family"}),
    counts=frozenset({"examples", "queries", "threads"}),
    required=COLUMNS.index("family"),
)
"""What queries.csv holds; ``delta_points`` is the accuracy over the first one's, with the ends of its 95 % interval."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A classifier that is measured."""

    classify: Classify  # tokenises and answers one text
    size: Path | int | None = None  # the folder or file of its weights, or bytes; None where nothing is stored
    classify_all: Callable[[Sequence[Any]], Iterable[object]] | None = None  # the same labels sooner, for the accuracy
    family: str | None = None  # what is shown in one panel with it


def measure_queries(
    candidates: Mapping[str, Candidate],
    texts: Sequence[Any],
    labels: Sequence[object],
    *,
    queries: int = 100,
    warm_ups: int = 10,
    threads: int | None = None,
    clock: Clock = time.perf_counter,
) -> list[Row]:
    """Measure each classifier's size, its latency on single texts, and its accuracy on all of them.

    Args:
        candidates: Classifiers by name; on each text they take turns.
        texts: Texts with labels; the first ``warm_ups`` and the ``queries`` after them, again from the start where
            there are fewer, are timed one by one.
        labels: What each text's answer is compared with.
        queries: How many calls are timed.
        warm_ups: How many calls go before them.
        threads: What every classifier was set to; only noted.
        clock: Seconds, monotonic.

    Returns:
        A row for each classifier, in order, with the columns of `QUERIES`.

    Raises:
        ValueError: If there are no candidates or no texts, numbers of texts and labels differ, a number is out of
            range, or a folder holds no weights.
    """
    whole_number("queries", queries, 2)
    whole_number("warm_ups", warm_ups, 0)
    if not candidates:
        raise ValueError("candidates: expected some classifiers by name, got none")
    if not texts or len(texts) != len(labels):
        raise ValueError(f"labels: expected one for each text, got {len(labels)} for {len(texts)} texts")
    sizes = {name: stored_bytes(candidate.size, name) for name, candidate in candidates.items()}
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for call in range(warm_ups + queries):
        text = texts[call % len(texts)]
        for name, candidate in candidates.items():
            start = clock()
            candidate.classify(text)
            if call >= warm_ups:
                times[name].append(1e3 * (clock() - start))
    right = {name: _right(candidate, texts, labels) for name, candidate in candidates.items()}
    first = next(iter(right.values()))
    rows = []
    for name, ours in right.items():
        gain = ours.astype(float) - first
        low, high = mean_interval(gain)
        row = QUERIES.row(
            name=name,
            size_mib=None if (size := sizes[name]) is None else size / 2**20,
            latency_ms_mean=statistics.mean(times[name]),
            latency_ms_std=statistics.stdev(times[name]),
            accuracy=float(ours.mean()),
            examples=len(texts),
            queries=queries,
            threads=threads,
            family=candidates[name].family,
        )
        if ours is not first:
            row |= {"delta_points": 100 * float(gain.mean()), "delta_low": 100 * low, "delta_high": 100 * high}
        rows.append(row)
    return rows


def stored_bytes(size: Path | int | None, name: str) -> int | None:
    """Return the bytes of a file and what belongs to it, of all weights below a folder, or the number itself.

    Raises:
        ValueError: If there is no such path, or no weights below it.
    """
    if size is None or isinstance(size, int):
        return size
    if size.is_file():
        beside = (size.with_suffix(".bin") if size.suffix == ".xml" else size, size.with_name(f"{size.name}.data"))
        return sum(path.stat().st_size for path in {size, *beside} if path.is_file())
    files = sorted(path for path in size.rglob("*") if path.suffix in WEIGHTS)
    if not files:
        raise ValueError(f"{name}: expected weights ({', '.join(WEIGHTS)}) in {shown(str(size))}, got none")
    return sum(path.stat().st_size for path in files)


def _right(candidate: Candidate, texts: Sequence[Any], labels: Sequence[object]) -> Bool[np.ndarray, " n"]:
    answers = list(candidate.classify_all(texts) if candidate.classify_all else map(candidate.classify, texts))
    if len(answers) != len(labels):
        raise ValueError(f"classify_all: expected an answer for each of {len(labels)} texts, got {len(answers)}")
    return np.array([answer == label for answer, label in zip(answers, labels, strict=True)])
