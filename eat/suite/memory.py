"""The part about memory: the peak of each contender, alone in a process of its own."""

import dataclasses
import logging
from collections.abc import Iterator

from eat.benchmark.contenders import ALL_OFF, PADDED, Contender, build_contenders
from eat.benchmark.engines import Saved
from eat.benchmark.memory import measure_peak
from eat.models.sharing import ALL_OFF_PARTS
from eat.suite.records import Row
from eat.suite.timed import WINDOWED, WINDOWED_NAME
from eat.suite.workbench import Workbench

log = logging.getLogger(__name__)


def memory_rows(bench: Workbench) -> Iterator[Row]:
    """Measure each contender's peak on one batch of each size, with all cores: threads share what they work on."""
    threads = bench.settings.thread_counts[-1]
    for size, length in bench.settings.memory_batches:
        batch = bench.examples_of(length, size)
        for contender, saved in _on_disk(bench):
            peak = measure_peak(contender.name, saved, [batch], threads=threads)
            log.info("memory %s %d x %d: %s %.0f MiB", bench.shape, size, length, contender.name, peak.peak_mib)
            yield {
                "inputs": "one length",
                "length": length,
                "batch_size": size,
                "threads": threads,
                "contender": contender.name,
                "engine": contender.engine,
                "examples": size,
                "peak_mib": peak.peak_mib,
                "over_loaded_mib": peak.over_loaded_mib,
                "baseline": PADDED,
            }


def _on_disk(bench: Workbench) -> Iterator[tuple[Contender, Saved]]:
    """Write the contenders to disk, where other processes find them; grouping by length changes nothing here."""
    for contender in build_contenders(bench.source, folder=bench.folder, absent=bench.absent):
        if contender.saved is not None and not contender.grouped:
            yield contender, contender.saved
            if contender.name == ALL_OFF:
                windowed = dataclasses.replace(contender.saved, parts=ALL_OFF_PARTS | {"attention": WINDOWED})
                yield dataclasses.replace(contender, name=WINDOWED_NAME), windowed
