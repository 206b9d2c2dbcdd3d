"""Constants that belong to a processor: measured once per machine, kept, and said wherever a time is reported.

Where two ways compute the same, which is faster is a fact about the machine: torch's product or oneDNN's, a call more
or some rows of padding more. Each is a `Measured` beside the code that it decides for. Its value is, in this order:
what `EAT_KERNELS` says, what this process was told by `use`, what was measured earlier on this machine, what a
measurement of a fraction of a second says now. Without a CPU's float32 work nothing is ever measured.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.utils._python_dispatch import _disable_current_modes

from eat.checks import closest, number, shown
from eat.files import cache_folder, read_object, write_text
from eat.machine import cpu_facts, cpu_name

VARIABLE = "EAT_KERNELS"
DEFAULT = "default"
"""`EAT_KERNELS=default` measures nothing, `default,slack_rows=4` neither: results then depend on no machine's noise."""


class Measured:
    """A number on which speed depends and answers do not, but for rounding.

    Args:
        name: What the environment variable, the cache and reports call it.
        default: Taken where nothing may be measured.
        measure: Measures it on this machine, with the present number of threads.
        meaning: One line with its unit, for people.
    """

    known: ClassVar[dict[str, "Measured"]] = {}
    """All of them, by name."""

    def __init__(self, name: str, default: float, measure: Callable[[], float], meaning: str) -> None:
        self.name, self.default, self.measure, self.meaning = name, default, measure, meaning
        self._values: dict[int, float] = {}  # by number of threads
        self.known[name] = self

    def value(self) -> float:
        """Return the number for this machine and the present number of threads."""
        threads = torch.get_num_threads()
        value = self._values.get(threads)
        return self._decide(threads) if value is None else value

    def forget(self) -> None:
        """Decide anew when next asked."""
        self._values.clear()

    def _decide(self, threads: int) -> float:
        typed = _typed()
        if self.name in typed:
            value = typed[self.name]
        else:
            kept = _read_cache(threads)
            value = kept[self.name] if self.name in kept else _keep(threads, self.name, _quietly(self.measure))
        self._values[threads] = value
        return value


def decided() -> dict[str, float]:
    """Return all numbers for this machine and the present number of threads; measures those that never were."""
    return {name: each.value() for name, each in sorted(Measured.known.items())}


def noted() -> dict[str, float | str]:
    """Return `decided` as JSON has it, for `use`: infinity is a word."""
    return {name: _plain(value) for name, value in decided().items()}


def source() -> str:
    """Say where the numbers come from: the environment variable, or a measurement."""
    typed = _typed()
    if not typed:
        return "measured on this machine"
    rest = "" if len(typed) == len(Measured.known) else ", the others measured on this machine"
    return f"{VARIABLE}={os.environ[VARIABLE]}{rest}"


def text() -> str:
    """Return the numbers on one line, as `EAT_KERNELS` takes them."""
    return ",".join(f"{name}={value:g}" for name, value in decided().items())


def threads_text() -> str:
    """Say how many threads the numbers hold for."""
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' if threads > 1 else ''}"


def use(values: Mapping[str, Any]) -> None:
    """Take these numbers in this process, as a run noted them, so that it is continued with the same products.

    What `EAT_KERNELS` says still comes first.

    Raises:
        ValueError: If one is no number of 0 or more; a name that is no longer known is passed over.
    """
    threads, typed = torch.get_num_threads(), _typed()
    for name, value in values.items():
        if name in Measured.known and name not in typed:
            Measured.known[name]._values[threads] = _at_least_0(f"kernels.{name}", value)


def measure_anew() -> dict[str, float]:
    """Forget what was measured on this machine with the present number of threads, measure again, and keep it."""
    cache_file(torch.get_num_threads()).unlink(missing_ok=True)
    for each in Measured.known.values():
        each.forget()
    return decided()


def fastest(calls: Mapping[str, Callable[[], Any]], rounds: int = 7) -> dict[str, float]:
    """Return the least time of each call in seconds; they take turns, so that a busy machine slows all alike."""
    best = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def cache_file(threads: int) -> Path:
    """Return where this machine's numbers are kept: one file for each processor, torch and number of threads."""
    machine = json.dumps([cpu_name(), cpu_facts(), torch.__version__, threads])
    name = hashlib.sha256(machine.encode()).hexdigest()[:16]
    return cache_folder() / "kernels" / f"{name}.json"


def _typed() -> dict[str, float]:
    """Read the numbers that the environment variable gives: ``name=value`` with commas between, ``default`` for all."""
    text = os.environ.get(VARIABLE, "").strip()
    parts = [part.strip() for part in text.split(",")] if text else []
    values = {name: each.default for name, each in Measured.known.items()} if DEFAULT in parts else {}
    for part in parts:
        if part == DEFAULT:
            continue
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name not in Measured.known or not equals:
            known = sorted(Measured.known)
            raise ValueError(
                f"{VARIABLE}: expected {DEFAULT!r} or name=number with commas between, names out of {known}, "
                f"got {shown(part)}{closest(name, known)}"
            )
        try:
            values[name] = _at_least_0(VARIABLE, float(value))
        except ValueError:
            raise ValueError(
                f"{VARIABLE}: {name}: expected a number of 0 or more, or inf, got {shown(value)}"
            ) from None
    return values


def _plain(value: float) -> float | str:
    return "inf" if value == float("inf") else value


def _at_least_0(name: str, value: Any) -> float:
    return float("inf") if value in (float("inf"), "inf") else number(name, value, at_least=0)


def _read_cache(threads: int) -> dict[str, float]:
    """Return what was measured earlier; nothing where the file is missing or damaged."""
    try:
        found = read_object(cache_file(threads))
        return {name: _at_least_0(name, value) for name, value in found.items()}
    except (OSError, ValueError):
        return {}


def _keep(threads: int, name: str, value: float) -> float:
    """Keep a number for later processes; where another one kept it meanwhile, return that: both must agree."""
    path = cache_file(threads)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _held(path.with_suffix(".lock")):
            kept = _read_cache(threads)
            if name in kept:
                return kept[name]
            write_text(path, json.dumps({each: _plain(number) for each, number in {**kept, name: value}.items()}))
    except OSError:  # a folder that cannot be written: measured again in the next process
        pass
    return value


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        with FileLock(path, timeout=5):
            yield
    except Timeout as error:
        raise OSError(f"{path} is held by another process") from error


def _quietly(measure: Callable[[], float]) -> float:
    """Measure outside of whatever the caller is recording: gradients, autocast, counted FLOPs."""
    with _disable_current_modes(), torch.inference_mode(), torch.autocast("cpu", enabled=False):
        return measure()
