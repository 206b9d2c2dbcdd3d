"""Where an engine's time goes: each operator's own time, by the profiler of the library that runs it."""

import gc
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eat.benchmark.clock import Clock
from eat.benchmark.engines.engine import Call, Encoded
from eat.checks import one_of, whole_number
from eat.tables import Row, Table

PROFILE = Table(
    ("name", "operator", "us_per_text", "share", "calls_per_text"),
    text=frozenset({"name", "operator"}),
    counts=frozenset(),
)
"""What profile.csv holds: an operator's own microseconds, and its share of the time with the profiler on."""
REST = "(between operators)"
"""Name of the row of what is left: Python, NumPy, the library's own bookkeeping and the profiler's."""
CONTAINERS = frozenset({"If", "Loop", "Scan"})
"""Operators of ONNX whose time is that of those inside them."""

Operators = Mapping[str, tuple[float, int]]
"""Seconds and calls of each operator."""


def profile(
    open_call: Callable[[], Call],
    batches: Sequence[Sequence[Encoded]],
    profiler: str,
    *,
    passes: int = 3,
    clock: Clock = time.perf_counter,
) -> tuple[list[Row], float]:
    """Answer batches with a profiler on, and without one; tell where the time went.

    Args:
        open_call: Returns what answers batches, anew each time: some engines are profiled from when they are opened.
        batches: What is answered, all of it in each pass; one pass goes before as a warm-up.
        profiler: Key of `PROFILERS`.
        passes: How often; the plain passes count by their fastest, the profiled ones by their mean.
        clock: Seconds, monotonic.

    Returns:
        Rows of `PROFILE` but for the name, the operator that takes longest first and `REST` last; and the microseconds
        a text takes without a profiler.

    Raises:
        ValueError: If there is nothing to answer, or no such profiler.
    """
    whole_number("passes", passes)
    texts = sum(map(len, batches))
    if not texts:
        raise ValueError("batches: expected some texts, got none")
    measure = PROFILERS[one_of("profiler", profiler, PROFILERS)]
    call = open_call()
    plain = []
    for _ in range(passes + 1):
        start = clock()
        _answer(call, batches)
        plain.append(clock() - start)
    del call
    operators, seconds = measure(open_call, batches, passes, clock)
    rows = [
        PROFILE.row(
            operator=name,
            us_per_text=1e6 * taken / passes / texts,
            share=taken / seconds,
            calls_per_text=calls / passes / texts,
        )
        for name, (taken, calls) in sorted(operators.items(), key=lambda item: -item[1][0])
    ]
    left = seconds - sum(taken for taken, _ in operators.values())
    rows.append(PROFILE.row(operator=REST, us_per_text=1e6 * left / passes / texts, share=left / seconds))
    return rows, 1e6 * min(plain[1:]) / texts


def _answer(call: Call, batches: Iterable[Sequence[Encoded]]) -> None:
    for batch in batches:
        np.asarray(call(batch))


def _with_torch(
    open_call: Callable[[], Call], batches: Sequence[Sequence[Encoded]], passes: int, clock: Clock
) -> tuple[Operators, float]:
    call = open_call()
    _answer(call, batches)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        start = clock()
        for _ in range(passes):
            _answer(call, batches)
        seconds = clock() - start
    return {one.key: (one.self_cpu_time_total / 1e6, one.count) for one in seen.key_averages()}, seconds


def _with_onnxruntime(
    open_call: Callable[[], Call], batches: Sequence[Sequence[Encoded]], passes: int, clock: Clock
) -> tuple[Operators, float]:
    from eat.deployment.runner import PROFILES

    with tempfile.TemporaryDirectory(prefix="eat-profile-") as name:
        token = PROFILES.set(Path(name))
        try:
            call = open_call()
            _answer(call, batches)  # sessions open with their first batch
        finally:
            PROFILES.reset(token)
        start = clock()
        for _ in range(passes):
            _answer(call, batches)
        seconds = clock() - start
        del call
        gc.collect()  # a session writes what it saw when it goes
        found: Counter[str] = Counter()
        calls: Counter[str] = Counter()
        for path in Path(name).iterdir():
            for event in _after_the_first_pass(json.loads(path.read_text(encoding="utf-8")), passes + 1):
                operator = event.get("args", {}).get("op_name")
                if operator and operator not in CONTAINERS and event["name"].endswith("_kernel_time"):
                    found[operator] += event["dur"]
                    calls[operator] += 1
    return {operator: (taken / 1e6, calls[operator]) for operator, taken in found.items()}, seconds


def _after_the_first_pass(events: Sequence[Mapping[str, Any]], passes: int) -> list[Mapping[str, Any]]:
    """Return a session's events but for those of its first pass: every pass runs it equally often."""
    ends = sorted(event["ts"] + event["dur"] for event in events if event["name"] == "model_run")
    first = ends[len(ends) // passes - 1] if ends else 0
    return [event for event in events if event.get("ts", 0) >= first]


PROFILERS: Mapping[
    str, Callable[[Callable[[], Call], Sequence[Sequence[Encoded]], int, Clock], tuple[Operators, float]]
] = {"torch": _with_torch, "onnxruntime": _with_onnxruntime}
"""By library."""
