"""What a benchmark measured, kept beside the report: tables are rebuilt from it where the weights are gone."""

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from eat.benchmark.memory import Peak
from eat.benchmark.protocol import Ratio
from eat.exits.points import OperatingPoint
from eat.files import write_text

log = logging.getLogger(__name__)

FILE = "benchmark.json"
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """The times of one contender at one batch size and thread count."""

    contender: str
    engine: str  # key of `ENGINES`
    exit: OperatingPoint | None  # operating point of ours; None for baselines
    examples: int  # examples in a round
    latency_ms: tuple[float, float, float]  # 50th, 95th and 99th percentile of a call, in ms
    examples_per_s: float  # median over the rounds
    speedup: Mapping[str, Ratio]  # over each baseline
    tokenising_ms: float | None = None  # median time of tokenising a batch; None where that was not measured
    speedup_tokenised: Mapping[str, Ratio] | None = None  # over each baseline with tokenising in both times
    batch_size: int  # examples in a call
    threads: int  # threads inside operators
    flops_ratio: float | None = None  # work over that with everything off; None for others' engines

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; what was not measured beside the times is left out."""
        values = vars(self) | {"exit": None if self.exit is None else self.exit.spec}
        missing = ("tokenising_ms", "speedup_tokenised")
        return {key: value for key, value in values.items() if value is not None or key not in missing}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Measurement":
        """Read back what `to_json` gave, after JSON has turned tuples into lists."""
        point = None if values["exit"] is None else OperatingPoint.of(values["exit"])
        return cls(**(tuples(values) | {"exit": point}))


@dataclasses.dataclass(frozen=True)
class PeakMemory:
    """The peak memory of each contender over the largest batches."""

    batch_size: int  # examples in a call
    examples: int  # examples that were answered
    threads: int  # threads inside operators
    peaks: Mapping[str, Peak]  # by contender


@dataclasses.dataclass(frozen=True)
class ShortcutFacts:
    """A shortcut's size, its quality on the main split, and its work."""

    num_layers: int
    run: str | None  # name of the run that it was trained in; None where it is the model's own first layers
    metrics: Mapping[str, float]  # by name
    delta: tuple[float, float, float] | None  # points to the model's full depth, with its interval
    ece: float | None  # expected calibration error; None in regression
    gflops: float  # executed for an example, on average
    flops_ratio: float  # over the model's with everything off


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """All that a benchmark measured."""

    environment: Mapping[str, Any]  # device, precision, versions, machine with its load before
    settings: Mapping[str, Any]  # those of `BenchmarkSettings`
    measurements: tuple[Measurement, ...]  # one for each contender, batch size and thread count
    memory: PeakMemory | None = None  # peak memory; None where it was not measured
    not_measured: Mapping[str, str] = dataclasses.field(default_factory=dict)  # why engines were left out, by name
    agreement: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)  # (equal to replayed, all)
    shortcuts: Mapping[str, ShortcutFacts] = dataclasses.field(default_factory=dict)  # by contender
    answers: Mapping[str, list[list[float]]] = dataclasses.field(default_factory=dict, repr=False)  # logits

    def points(self) -> dict[str, OperatingPoint | None]:
        """Return the operating point of each contender; None for baselines."""
        return {one.contender: one.exit for one in self.measurements}

    def to_json(self) -> dict[str, Any]:
        """Return what `benchmark.json` holds; JSON values only."""
        nested = {
            "measurements": [one.to_json() for one in self.measurements],
            "memory": {} if self.memory is None else dataclasses.asdict(self.memory),
            "shortcuts": {name: dataclasses.asdict(facts) for name, facts in self.shortcuts.items()},
        }
        return {key: value for key, value in (vars(self) | nested).items() if key != "answers"}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Benchmark":
        """Read back what `to_json` gave, of this version or an older one."""
        memory = values.get("memory")
        if memory:
            peaks = {name: Peak(**peak) for name, peak in memory["peaks"].items()}
            memory = PeakMemory(**(memory | {"peaks": peaks}))
        return cls(
            environment=values["environment"],
            settings=values["settings"],
            measurements=tuple(map(Measurement.from_json, values["measurements"])),
            memory=memory or None,
            not_measured=values.get("not_measured", {}),
            agreement=tuples(values["agreement"]),
            shortcuts={name: ShortcutFacts(**tuples(one)) for name, one in values.get("shortcuts", {}).items()},
        )


def write_benchmark(folder: Path, benchmark: Benchmark, fingerprint: str) -> None:
    """Write the measurements of these weights."""
    write_text(folder / FILE, json.dumps({"fingerprint": fingerprint, **benchmark.to_json()}, indent=1) + "\n")


def read_benchmark(folder: Path, fingerprint: str) -> Benchmark | None:
    """Read what was measured earlier; None where nothing was, or where it was measured on other weights."""
    return read_for(folder / FILE, fingerprint, Benchmark.from_json, "measured on", "benchmark")


def timed_exits(benchmark: Benchmark | None) -> list[OperatingPoint]:
    """List the operating points that were measured, each once."""
    return list(dict.fromkeys(filter(None, benchmark.points().values()))) if benchmark else []


def read_for(
    path: Path, fingerprint: str, build: Callable[[dict[str, Any]], Result], made: str, stage: str
) -> Result | None:
    """Read a result that belongs to certain weights; None where there is none, or it belongs to others.

    It is built from the file's values without the fingerprint; a warning says "was {made} other weights".

    Raises:
        ValueError: If the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = values.pop("fingerprint")
        result = build(values)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and run stages=[{stage}] again") from error
    if found != fingerprint:
        log.warning("%s was %s other weights and is left out; run stages=[%s] again", path, made, stage)
        return None
    return result


def tuples(values: Any) -> Any:
    """Turn the lists in JSON values back into tuples, at any depth."""
    if isinstance(values, dict):
        return {key: tuples(value) for key, value in values.items()}
    return tuple(map(tuples, values)) if isinstance(values, list) else values
