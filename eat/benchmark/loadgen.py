"""MLPerf LoadGen as an outside referee: its arrivals, its clock and its verdict, on our model and data.

MLCommons' load generator (Reddi et al. 2020, arXiv:1911.02549) issues the queries, takes the times and says whether a
run is valid. What comes out compares engines on one machine; it is no MLPerf result, whose models and data are others.
"""

from __future__ import annotations

import dataclasses
import queue
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from eat.benchmark.engines import Call, Encoded
from eat.checks import number, several, some_of, whole_number

SCENARIOS = {"single_stream": "SingleStream", "offline": "Offline", "server": "Server"}
"""One query after the other; all at once; or one by one at random moments, by a Poisson process."""
SUMMARY = "mlperf_log_summary.txt"
TITLE = "LoadGen, our model and data"


@dataclasses.dataclass(frozen=True)
class LoadGenSettings:
    """How LoadGen is run.

    Raises:
        ValueError: Naming the setting that is of another type or out of range.
    """

    scenarios: Sequence[str] = tuple(SCENARIOS)
    seconds: float = 10.0  # of each run, at least
    batch_size: int = 32  # texts in a call at most, of those that wait
    server_qps: Sequence[float] = (100.0,)  # queries a second that the server scenario is run with
    latency_ms: float = 50.0  # what 99 % of a server's queries must meet

    def __post_init__(self) -> None:
        some_of("scenarios", self.scenarios, SCENARIOS)
        number("seconds", self.seconds, above=0)
        whole_number("batch_size", self.batch_size)
        for rate in several("server_qps", self.server_qps, "[100.0]"):
            number("server_qps", rate, above=0)
        number("latency_ms", self.latency_ms, above=0)


@dataclasses.dataclass(frozen=True)
class LoadGenResult:
    """What LoadGen said of a run."""

    contender: str
    scenario: str  # key of `SCENARIOS`
    valid: bool
    queries_per_s: float  # that were answered
    latency_ms: Mapping[str, float]  # percentile (50, 90, 99) -> milliseconds
    server_qps: float | None = None  # that were issued in the server scenario


def run_loadgen(
    calls: Mapping[str, Call],
    examples: Sequence[Encoded],
    settings: LoadGenSettings | None = None,
    logs: str | Path | None = None,
) -> list[LoadGenResult]:
    """Run each contender through each scenario; see `LoadGenSettings`.

    Args:
        calls: What answers a batch of examples, by the contender's name.
        examples: The texts' token ids, which LoadGen draws from.
        settings: How it is run.
        logs: Folder for LoadGen's own logs, a folder for each run; None keeps none.

    Raises:
        ImportError: If LoadGen is not installed.
        ValueError: If there are no contenders or no examples.
    """
    settings = settings or LoadGenSettings()
    if not calls or not examples:
        raise ValueError(f"calls, examples: expected one or more of each, got {len(calls)} and {len(examples)}")
    rates = {scenario: settings.server_qps if scenario == "server" else (None,) for scenario in settings.scenarios}
    results = []
    for scenario, asked in rates.items():
        for rate in asked:
            for place, (name, call) in enumerate(calls.items()):
                run = f"{scenario}-{rate or 'free'}-{place}"
                with tempfile.TemporaryDirectory(prefix="eat-loadgen-") as temporary:
                    folder = Path(temporary) if logs is None else Path(logs) / run
                    folder.mkdir(parents=True, exist_ok=True)
                    _run(call, examples, scenario, rate, settings, folder)
                    results.append(_read(folder / SUMMARY, name, scenario, rate))
    return results


def loadgen_markdown(results: Sequence[LoadGenResult]) -> str:
    """Lay the results out as a section in Markdown."""
    lines = [
        f"## {TITLE}",
        "",
        "| scenario | contender | issued/s | answered/s | p50 ms | p90 ms | p99 ms | LoadGen says |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for one in results:
        issued = "" if one.server_qps is None else f"{one.server_qps:g}"
        times = " | ".join(f"{one.latency_ms[percentile]:.2f}" for percentile in ("50", "90", "99"))
        verdict = "valid" if one.valid else "invalid"
        lines.append(f"| {one.scenario} | {one.contender} | {issued} | {one.queries_per_s:.1f} | {times} | {verdict} |")
    return "\n".join([*lines, ""])


def _run(
    call: Call,
    examples: Sequence[Encoded],
    scenario: str,
    rate: float | None,
    settings: LoadGenSettings,
    folder: Path,
) -> None:
    loadgen = _loadgen()
    asked, output, log = loadgen.TestSettings(), loadgen.LogOutputSettings(), loadgen.LogSettings()
    asked.scenario = getattr(loadgen.TestScenario, SCENARIOS[scenario])
    asked.mode = loadgen.TestMode.PerformanceOnly
    asked.min_duration_ms = round(1000 * settings.seconds)
    asked.server_target_latency_ns = round(1e6 * settings.latency_ms)
    asked.server_target_latency_percentile = 0.99
    if rate is not None:
        asked.server_target_qps = rate
    with _answering(call, examples, settings.batch_size) as answering:
        if scenario == "offline":  # its queries are made beforehand, and must last
            asked.offline_expected_qps = 2.0 * answering.warm_up()
        else:
            answering.warm_up()
        output.outdir, output.copy_summary_to_stdout = str(folder), False
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


class _Answering:
    """Answers queries in a thread of its own: all that wait, up to a batch, in one call."""

    def __init__(self, call: Call, examples: Sequence[Encoded], batch_size: int) -> None:
        self.call, self.examples, self.batch_size = call, examples, batch_size
        self.error: Exception | None = None
        self.waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._loadgen = _loadgen()

    def issue(self, queries: Sequence[Any]) -> None:
        """Let queries wait; of many that come at once the long ones first, so that batches have like lengths."""
        for query in sorted(queries, key=lambda query: -len(self.examples[query.index]["input_ids"])):
            self.waiting.put(query)

    def warm_up(self) -> float:
        """Answer some full batches, and return how many examples that was in a second."""
        batch = [self.examples[place % len(self.examples)] for place in range(self.batch_size)]
        with torch.inference_mode():
            self.call(batch)
            began, times = time.perf_counter(), 3
            for _ in range(times):
                self.call(batch)
        return times * self.batch_size / (time.perf_counter() - began)

    @torch.inference_mode()
    def work(self) -> None:
        """Answer until None comes."""
        while (query := self.waiting.get()) is not None:
            batch = [query]
            while len(batch) < self.batch_size and not self.waiting.empty():
                batch.append(self.waiting.get())
            try:
                if self.error is None:  # LoadGen waits for every query, also behind an error
                    self.call([self.examples[query.index] for query in batch])
            except Exception as error:
                self.error = error
            responses = [self._loadgen.QuerySampleResponse(query.id, 0, 0) for query in batch]
            self._loadgen.QuerySamplesComplete(responses)


@contextmanager
def _answering(call: Call, examples: Sequence[Encoded], batch_size: int) -> Iterator[_Answering]:
    answering = _Answering(call, examples, batch_size)
    thread = threading.Thread(target=answering.work, daemon=True)
    thread.start()
    try:
        yield answering
    finally:
        answering.waiting.put(None)
        thread.join()


def _read(path: Path, contender: str, scenario: str, rate: float | None) -> LoadGenResult:
    """Read LoadGen's summary."""
    found = dict(re.findall(r"^(.+?)\s*: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE))
    rates = ("Samples per second", "Completed samples per second", "QPS w/o loadgen overhead")
    percentiles = {name: found[f"{name}.00 percentile latency (ns)"] for name in ("50", "90", "99")}
    return LoadGenResult(
        contender=contender,
        scenario=scenario,
        valid=found["Result is"] == "VALID",
        queries_per_s=next(float(found[name]) for name in rates if name in found),
        latency_ms={name: float(value) / 1e6 for name, value in percentiles.items()},
        server_qps=rate,
    )


def _loadgen() -> Any:
    try:
        import mlperf_loadgen
    except ImportError as error:
        raise ImportError("LoadGen is not installed: pip install 'eat-transformers[loadgen]'") from error
    return mlperf_loadgen
