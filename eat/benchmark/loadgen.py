"""MLPerf LoadGen as an outside referee: its arrivals, its clock and its verdict, on our model and data.

MLCommons' load generator (Reddi et al. 2020, arXiv:1911.02549) issues the queries, takes the times and says whether a
run is valid. What comes out compares engines on one machine; it is no MLPerf result, whose models and data are others.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import queue
import re
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from eat.benchmark.engines import Call, Encoded
from eat.benchmark.engines.engine import on_host
from eat.checks import number, some_of, whole_number
from eat.models.classifier import AdaptiveForSequenceClassification

SCENARIOS = {"single_stream": "SingleStream", "offline": "Offline", "server": "Server"}
"""One query after the other; all at once; or one by one at random moments, by a Poisson process."""
SUMMARY = "mlperf_log_summary.txt"
FEWEST = 459
"""Queries that a run in the server scenario needs: with fewer LoadGen finds none valid, since even if all of them are
in time it cannot say with 99 % confidence that 99 % are (0.99 ** 459 < 0.01)."""
WARM_UP_BATCHES = 4


@dataclasses.dataclass(frozen=True)
class LoadGenSettings:
    """How LoadGen is run.

    Raises:
        ValueError: Naming the setting that is of another type or out of range.
    """

    scenarios: Sequence[str] = tuple(SCENARIOS)  # which of single_stream, offline and server
    seconds: int | float = 10.0  # of each run, at least
    batch_size: int = 32  # texts in a call at most, of those that wait
    latency_ms: int | float = 50.0  # what 99 % of a server's queries must meet
    server_runs: int = 7  # runs in which a server's highest rate is searched for

    def __post_init__(self) -> None:
        some_of("scenarios", self.scenarios, SCENARIOS)
        number("seconds", self.seconds, above=0)
        whole_number("batch_size", self.batch_size)
        number("latency_ms", self.latency_ms, above=0)
        whole_number("server_runs", self.server_runs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadGenResult:
    """What LoadGen said of a run."""

    scenario: str  # key of `SCENARIOS`
    valid: bool
    queries_per_s: float  # that were answered
    latency_ms: Mapping[str, float]  # percentile (50, 90, 99) -> milliseconds
    server_qps: float | None = None  # that LoadGen scheduled in the server scenario
    tried: Sequence[Mapping[str, Any]] = ()  # all runs of the search for that rate: asked_qps, valid, latency_ms_p99
    summary: str = dataclasses.field(default="", repr=False)  # LoadGen's own text


@runtime_checkable
class Serving(Protocol):
    """Answers queries as they arrive, some at a time."""

    batch_size: int

    @property
    def room(self) -> int:
        """How many queries it takes now."""

    @property
    def busy(self) -> bool:
        """Whether queries are under way that it took earlier."""

    def answer(self, arrived: Mapping[int, Encoded]) -> Collection[int]:
        """Take what arrived, by rising numbers, do one call's work, and return the numbers that are answered now."""


class Batches:
    """Answer all queries that wait, up to a batch, in one call: plain dynamic batches."""

    busy = False

    def __init__(self, call: Call, batch_size: int) -> None:
        self.call, self.batch_size = call, batch_size
        self.room = batch_size

    def answer(self, arrived: Mapping[int, Encoded]) -> Collection[int]:
        """Answer what arrived."""
        self.call(list(arrived.values()))
        return list(arrived)


class Pooled:
    """Pool the survivors of several batches behind early heads; answers leave as soon as they are there.

    Args:
        model: In evaluation mode, without sufficient rules.
        batch_size: Sequences of a full batch.
        patience_ms: What has waited longer goes first, in however small a batch; None never hurries.
    """

    def __init__(
        self, model: AdaptiveForSequenceClassification, batch_size: int, patience_ms: float | None = None
    ) -> None:
        self.pools, self.batch_size, self.patience_ms = model.survivor_pools(batch_size), batch_size, patience_ms
        self._came: dict[int, float] = {}

    @property
    def room(self) -> int:
        """What the pools may still take."""
        return self.pools.max_in_flight - len(self.pools)

    @property
    def busy(self) -> bool:
        """Whether some wait in a pool."""
        return len(self.pools) > 0

    def answer(self, arrived: Mapping[int, Encoded]) -> Collection[int]:
        """Run one batch through one segment."""
        now = time.perf_counter()
        for index, example in arrived.items():
            self.pools.add(index, example)
            self._came[index] = now
        waited = 1000 * (now - next(iter(self._came.values())))
        answered = self.pools.step(oldest_first=self.patience_ms is not None and waited > self.patience_ms)
        if answered:
            on_host(torch.stack([prediction.logits for prediction in answered.values()]))
        for index in answered:
            del self._came[index]
        return answered


def run_loadgen(
    serving: Serving, examples: Sequence[Encoded], scenario: str, settings: LoadGenSettings | None = None
) -> LoadGenResult:
    """Run a scenario; in the server scenario search for the highest rate at which 99 % of queries are in time.

    The search begins at the rate of full batches, halves and doubles until one rate is valid and one is not, and then
    bisects between them, on a logarithmic scale, in `LoadGenSettings.server_runs` runs in all. Rates below
    `FEWEST` queries in a run are not tried. The result is the valid run of the highest rate; if there is none, the last
    one, which is not valid.

    Args:
        serving: What answers: `Batches` or `Pooled`.
        examples: The texts' token ids, which LoadGen draws from.
        scenario: Key of `SCENARIOS`.
        settings: How it is run.

    Raises:
        ImportError: If LoadGen is not installed.
        ValueError: If there are no examples or no such scenario.
    """
    settings = settings or LoadGenSettings()
    some_of("scenario", [scenario], SCENARIOS)
    if not examples:
        raise ValueError("examples: expected one or more, got none")
    loadgen = import_loadgen()
    at_full_batches = _warm_up(serving, examples)
    asked = loadgen.TestSettings()
    asked.scenario = getattr(loadgen.TestScenario, SCENARIOS[scenario])
    asked.mode = loadgen.TestMode.PerformanceOnly
    asked.min_duration_ms = round(1000 * settings.seconds)
    if scenario == "offline":
        asked.offline_expected_qps = 2.0 * at_full_batches  # its queries are made beforehand, and must last
    if scenario != "server":
        return _run(serving, examples, scenario, asked)
    asked.min_query_count = FEWEST
    asked.server_target_latency_ns = round(1e6 * settings.latency_ms)
    asked.server_target_latency_percentile = 0.99

    def run(rate: float) -> LoadGenResult:
        asked.server_target_qps = rate
        return _run(serving, examples, scenario, asked)

    return search_rate(run, at_full_batches, FEWEST / settings.seconds, settings.server_runs)


def search_rate(run: Callable[[float], LoadGenResult], start: float, lowest: float, most_runs: int) -> LoadGenResult:
    """Search for the highest rate that is valid, as `run_loadgen` says, and note every run in its result."""
    best: LoadGenResult | None = None
    good = bad = 0.0  # the highest rate that was valid, the lowest that was not; 0 while there is none
    rate, tried = max(start, lowest), []
    for _ in range(most_runs):
        found = run(rate)
        tried.append({"asked_qps": rate, "valid": found.valid, "latency_ms_p99": found.latency_ms["99"]})
        if found.valid:
            best, good = found, rate
        else:
            bad = rate
        if not good:
            if rate <= lowest:
                break
            rate = max(bad / 2, lowest)
        elif bad:
            rate = math.sqrt(good * bad)
        else:
            rate = 2 * good
    return dataclasses.replace(best or found, tried=tuple(tried))


def import_loadgen() -> Any:
    """Return LoadGen's module.

    Raises:
        ImportError: If it is not installed; the message says how to.
    """
    try:
        import mlperf_loadgen
    except ImportError as error:
        raise ImportError("LoadGen is not installed: pip install 'eat-transformers[loadgen]'") from error
    return mlperf_loadgen


def _warm_up(serving: Serving, examples: Sequence[Encoded]) -> float:
    """Answer batches of growing size, then full ones, and return how many examples those were in a second."""
    for exponent in range(serving.batch_size.bit_length()):
        _answer_all(serving, examples, 2**exponent)
    count, began = WARM_UP_BATCHES * serving.batch_size, time.perf_counter()
    _answer_all(serving, examples, count)
    return count / (time.perf_counter() - began)


@torch.inference_mode()
def _answer_all(serving: Serving, examples: Sequence[Encoded], count: int) -> None:
    left = iter(enumerate(itertools.islice(itertools.cycle(examples), count)))
    while (arrived := dict(itertools.islice(left, serving.room))) or serving.busy:
        serving.answer(arrived)


def _run(serving: Serving, examples: Sequence[Encoded], scenario: str, asked: Any) -> LoadGenResult:
    loadgen = import_loadgen()
    output, log = loadgen.LogOutputSettings(), loadgen.LogSettings()
    with (
        tempfile.TemporaryDirectory(prefix="eat-loadgen-") as folder,
        _answering(serving, examples) as answering,
    ):
        output.outdir, output.copy_summary_to_stdout = folder, False
        log.log_output, log.enable_trace = output, False
        system = loadgen.ConstructSUT(answering.issue, lambda: None)
        library = loadgen.ConstructQSL(len(examples), len(examples), lambda _: None, lambda _: None)
        try:
            loadgen.StartTestWithLogSettings(system, library, asked, log, "")
        finally:
            loadgen.DestroyQSL(library)
            loadgen.DestroySUT(system)
        if answering.error is not None:
            raise answering.error
        return _read((Path(folder) / SUMMARY).read_text(encoding="utf-8"), scenario)


class _Answering:
    """Answers queries in a thread of its own."""

    def __init__(self, serving: Serving, examples: Sequence[Encoded]) -> None:
        self.serving, self.examples = serving, examples
        self.error: Exception | None = None
        self.waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.under_way: dict[int, Any] = {}
        self._numbers = itertools.count()
        self._loadgen = import_loadgen()

    def issue(self, queries: Sequence[Any]) -> None:
        """Let queries wait; of many that come at once the long ones first, so that batches have like lengths."""
        for query in sorted(queries, key=lambda query: -len(self.examples[query.index]["input_ids"])):
            self.waiting.put(query)

    @torch.inference_mode()
    def work(self) -> None:
        """Answer until None comes."""
        while (arrived := self._arrived()) is not None:
            answered = [self.under_way.pop(number) for number in self._answer(arrived)]
            if answered:
                responses = [self._loadgen.QuerySampleResponse(query.id, 0, 0) for query in answered]
                self._loadgen.QuerySamplesComplete(responses)

    def _arrived(self) -> dict[int, Encoded] | None:
        """Take what waits and there is room for; wait for it only while nothing is under way. None at the end."""
        arrived: dict[int, Encoded] = {}
        room = self.serving.batch_size if self.error else self.serving.room  # nothing leaves behind an error
        while len(arrived) < room and not (self.under_way and self.waiting.empty()):
            query = self.waiting.get()
            if query is None:
                return None
            index = next(self._numbers)
            self.under_way[index], arrived[index] = query, self.examples[query.index]
        return arrived

    def _answer(self, arrived: Mapping[int, Encoded]) -> Collection[int]:
        try:
            if self.error is None:
                return self.serving.answer(arrived)
        except Exception as error:
            self.error = error
        return list(self.under_way)  # LoadGen waits for every query, also behind an error


@contextmanager
def _answering(serving: Serving, examples: Sequence[Encoded]) -> Iterator[_Answering]:
    answering = _Answering(serving, examples)
    thread = threading.Thread(target=answering.work, daemon=True)
    thread.start()
    try:
        yield answering
    finally:
        answering.waiting.put(None)
        thread.join()


def _read(summary: str, scenario: str) -> LoadGenResult:
    """Read LoadGen's summary."""
    found = dict(re.findall(r"^(.+?)\s*: (.*)$", summary, re.MULTILINE))
    rates = ("Samples per second", "Completed samples per second", "QPS w/o loadgen overhead")
    percentiles = {name: found[f"{name}.00 percentile latency (ns)"] for name in ("50", "90", "99")}
    scheduled = found.get("Scheduled samples per second")
    return LoadGenResult(
        scenario=scenario,
        valid=found["Result is"] == "VALID",
        queries_per_s=next(float(found[name]) for name in rates if name in found),
        latency_ms={name: float(value) / 1e6 for name, value in percentiles.items()},
        server_qps=None if scheduled is None else float(scheduled),
        summary=summary,
    )
