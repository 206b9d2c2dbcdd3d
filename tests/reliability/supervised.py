"""Cases in turns, each kind with its share of the time, in a process that may die: the campaign goes on behind it."""

from __future__ import annotations

import dataclasses
import math
import mmap
import os
import pickle
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.reliability.campaign import Case, Check, Tally, run_case

CASE_SECONDS = 300  # of the processor, after which a case is taken not to end: its process dies
WAITED_SECONDS = 3600  # likewise by the clock, where others have the processor or it waits for something
SAVED_EVERY_S = 15.0
MEMORY = 16 * 2**30  # of addresses, where the system can limit them
Kinds = Mapping[str, tuple[float, Check]]


@dataclasses.dataclass
class State:
    """How far a campaign is."""

    tallies: dict[str, Tally]
    seeds: dict[str, int]  # the next of each kind
    spent: dict[str, float]  # seconds, for the shares
    deadly: dict[tuple[str, int], str] = dataclasses.field(default_factory=dict)  # cases that a process died of

    @classmethod
    def fresh(cls, kinds: Kinds, first: int) -> State:
        """Begin at a seed."""
        return cls({kind: Tally() for kind in kinds}, dict.fromkeys(kinds, first), dict.fromkeys(kinds, 0.0))

    @property
    def inputs(self) -> int:
        """Inputs so far."""
        return sum(tally.counts["inputs"] for tally in self.tallies.values())

    def step(self, kinds: Kinds, here: mmap.mmap | None = None) -> None:
        """Run the next case, of the kind that is furthest behind its share; note in shared memory which it is."""
        kind = min(kinds, key=lambda kind: self.spent[kind] / kinds[kind][0])
        seed, start = self.seeds[kind], time.monotonic()
        if (kind, seed) in self.deadly:
            case = Case(seed)
            case.fail(self.deadly[kind, seed])
        else:
            if here is not None:
                here[:16] = struct.pack("qq", list(kinds).index(kind), seed)
            case = run_case(kinds[kind][1], seed)
        self.tallies[kind].add(case)
        self.seeds[kind] += 1
        self.spent[kind] += time.monotonic() - start


def run(
    kinds: Kinds,
    seconds: float,
    first: int = 0,
    *,
    inputs: float = math.inf,
    note: Callable[[dict[str, Tally]], None] = lambda tallies: None,
) -> dict[str, Tally]:
    """Run for about so many seconds or inputs, in a child, and in another one where that dies of a case.

    ``note`` is given the tallies now and then, so that a campaign that is killed leaves what it found.
    """
    state, end = State.fresh(kinds, first), time.monotonic() + seconds
    here = mmap.mmap(-1, 16)
    with tempfile.TemporaryDirectory(prefix="eat-fuzz-") as folder:
        saved = Path(folder) / "state.pickle"
        _save(state, saved)
        while time.monotonic() < end and state.inputs < inputs:
            sys.stdout.flush()
            child = os.fork()
            if not child:
                _work(state, kinds, end, inputs, here, saved, note)
            _, status = os.waitpid(child, 0)
            state = pickle.loads(saved.read_bytes())
            if (code := os.waitstatus_to_exitcode(status)) == 0:
                break
            index, seed = struct.unpack("qq", here[:16])
            state.deadly[list(kinds)[index], seed] = f"the process died with code {code}"
    return state.tallies


def run_each(kinds: Kinds, cases: int, first: int = 0) -> dict[str, Tally]:
    """Run so many cases of each kind, in this process."""
    tallies = {kind: Tally() for kind in kinds}
    for kind, (_, check) in kinds.items():
        for seed in range(first, first + cases):
            tallies[kind].add(run_case(check, seed))
    return tallies


def _work(
    state: State,
    kinds: Kinds,
    end: float,
    inputs: float,
    here: mmap.mmap,
    saved: Path,
    note: Callable[[dict[str, Tally]], None],
) -> None:
    """Run cases until the end, saving now and then; never return."""
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        due = time.monotonic() + SAVED_EVERY_S
        while time.monotonic() < end and state.inputs < inputs:
            signal.setitimer(signal.ITIMER_PROF, CASE_SECONDS)
            signal.alarm(WAITED_SECONDS)
            state.step(kinds, here)
            if time.monotonic() > due:
                _save(state, saved)
                note(state.tallies)
                due = time.monotonic() + SAVED_EVERY_S
        _save(state, saved)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _save(state: State, path: Path) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(pickle.dumps(state))
    partial.replace(path)
