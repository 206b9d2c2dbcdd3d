"""Run the suite: measure the parts that are not recorded yet, write each as soon as it is there, then draw."""

import hashlib
import json
import logging
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from eat.benchmark.run import describe_conditions
from eat.files import write_text
from eat.machine import num_cores
from eat.suite import timed
from eat.suite.contest import Contest, budget_of, hold
from eat.suite.memory import memory_rows
from eat.suite.records import TABLE, Row, is_current, read_part
from eat.suite.report import write_suite_report
from eat.suite.settings import SuiteSettings
from eat.suite.training import training_rows
from eat.suite.workbench import Workbench

log = logging.getLogger(__name__)

ENVIRONMENT = "environment.json"
TIMED: Mapping[str, Callable[[Workbench], Iterator[Contest]]] = {
    "serving": timed.serving,
    "pruning": timed.pruning,
    "depth": timed.depth,
    "windowed": timed.windowed,
    "curves": timed.curves,
    "pool": timed.pool,
}
"""Parts that are contests of time."""
HEAVY = ("curves", "training", "pool")
"""Parts that take long, and so have fewer shapes."""


def run_suite(
    settings: SuiteSettings, *, folder: str | Path, environment: Mapping[str, Any], fresh: bool = False
) -> Path:
    """Measure, record and draw.

    A part that was recorded with this code and these settings is not measured again. Each part is written whole when it
    is finished; one that fails leaves what was there and ends the run with its error, and the same command goes on.

    This machine gets a folder in that of all machines' results, which is returned. The ``environment`` is what numbers
    depend on besides: versions, hardware (``cpu``), ``commit``. ``fresh`` measures parts again that are recorded.
    """
    device = settings.torch_device
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    place = Path(folder) / (_slug(gpu) if gpu else f"cpu-{_slug(str(environment['cpu']))}-{num_cores()}-cores")
    values = settings.measured_values()
    conditions = describe_conditions(device, "clocks")  # now: the load is the others', not ours
    facts = {**environment, **conditions, "settings": values}
    stamp = {
        "commit": environment["commit"],
        "code": _code_digest(),
        "settings": hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8],
    }
    for part in settings.chosen_parts:
        path = place / f"{part}.csv"
        if not fresh and path.is_file() and is_current(read_part(path), stamp["code"], stamp["settings"]):
            log.info("%s: recorded already; fresh=true measures it again", part)
            continue
        began = time.monotonic()
        rows = [{"part": part, "device": gpu or "cpu", **row, **stamp} for row in _measure(part, settings)]
        TABLE.write(path, rows)
        write_text(place / ENVIRONMENT, json.dumps(facts, indent=1) + "\n")
        log.info("%s: measured in %.1f minutes", part, (time.monotonic() - began) / 60)
    table = write_suite_report(place)
    log.info("\n%s\n\nresults: %s", table, place)
    return place


def _measure(part: str, settings: SuiteSettings) -> Iterator[Row]:
    """Measure one part in every precision and shape."""
    for dtype in settings.dtypes:
        for shape in settings.heavy_shapes if part in HEAVY else settings.shapes:
            for row in _rows(part, shape, dtype, settings):
                yield {"shape": shape, "dtype": str(dtype).removeprefix("torch."), **row}


def _rows(part: str, shape: str, dtype: torch.dtype, settings: SuiteSettings) -> Iterator[Row]:
    if part == "training":
        yield from training_rows(shape, dtype, settings)
        return
    with tempfile.TemporaryDirectory(prefix="eat-suite-") as folder:
        bench = Workbench(shape, dtype, settings, Path(folder))
        yield from memory_rows(bench) if part == "memory" else _timed_rows(part, bench)
        if part in ("serving", "memory"):
            for name, reason in bench.absent.items():
                yield {"contender": name, "engine": name, "not_measured": reason}


def _timed_rows(part: str, bench: Workbench) -> Iterator[Row]:
    """Measure the contests of a part, the cost curves with all cores only."""
    settings, on_curve = bench.settings, part == "curves"
    seconds = settings.curve_seconds if on_curve else settings.seconds
    budget = budget_of(seconds, settings.rounds, settings.warmup)
    counts = settings.thread_counts[-1:] if on_curve else settings.thread_counts
    for contest in TIMED[part](bench):
        for threads in counts:
            rows = hold(contest, budget, threads, settings.torch_device)
            log.info("%s", _outcome(part, bench, contest, rows))
            yield from rows


def _outcome(part: str, bench: Workbench, contest: Contest, rows: list[Row]) -> str:
    """Say in a line what came out, for those who wait."""
    over = contest.baselines[0]
    named = contest.inputs if contest.length is None else f"{contest.length} tokens"
    others = [row for row in rows if row["baseline"] == over != row["contender"]]
    found = [f"{row['contender']} {row['speedup']:.2f}x" for row in others]
    where = f"{part} {bench.shape} {named} batch {contest.batch_size} threads {rows[0]['threads']}"
    return f"{where}: {', '.join(found)} over {over}"


def _slug(name: str) -> str:
    """Bring a name into lower-case words joined by dashes, without marks of trade and "processor"."""
    plain = re.sub(r"\((r|tm)\)|\bcpu\b|\bprocessor\b|@.*", " ", name.lower())
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "unknown"


def _code_digest() -> str:
    """Name the package's code with 12 hex digits, so that a change to it makes measurements stale.

    A commit would not do: writing results changes the working tree, and committing them changes the commit.
    """
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
