"""What a benchmark measured, kept beside the report: tables are rebuilt from it where the weights are gone."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eat.benchmark.contenders import BASELINES
from eat.benchmark.engines import EAT, ENGINES
from eat.benchmark.memory import Peak
from eat.benchmark.protocol import Ratio
from eat.benchmark.stored import need, read_for, tuples
from eat.checks import one_of, whole_number
from eat.exits.points import OperatingPoint
from eat.files import write_text

FILE = "benchmark.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """The times of one contender at one batch size and thread count."""

    contender: str
    engine: str  # key of `ENGINES`
    exit: OperatingPoint | None  # operating point, of eat's own engine or another; None for baselines
    examples: int  # examples in a round
    latency_ms: tuple[float, float, float]  # 50th, 95th and 99th percentile of a call, in ms
    examples_per_s: float  # median over the rounds
    speedup: Mapping[str, Ratio]  # over each baseline
    tokenising_ms: float | None = None  # median time of tokenising a batch; None where that was not measured
    speedup_tokenised: Mapping[str, Ratio] | None = None  # over each baseline with tokenising in both times
    batch_size: int  # examples in a call
    threads: int  # threads inside operators
    flops_ratio: float | None = None  # work over that with everything off; None for others' engines
    rounds: int | None = None  # how often they were answered; None in older files: as the settings say
    warmup: int | None = None  # untimed calls before, likewise

    @property
    def batches(self) -> int:
        """Full batches behind the figures."""
        return self.examples // self.batch_size

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; what was not measured beside the times is left out."""
        values = vars(self) | {"exit": None if self.exit is None else self.exit.spec}
        missing = ("tokenising_ms", "speedup_tokenised", "rounds", "warmup")
        return {key: value for key, value in values.items() if value is not None or key not in missing}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Measurement":
        """Read back what `to_json` gave, after JSON has turned tuples into lists."""
        point = None if values["exit"] is None else OperatingPoint.of(values["exit"])
        one_of("engine", values["engine"], ENGINES)
        whole_number("batch_size", values["batch_size"])
        for over in (values["speedup"], values.get("speedup_tokenised") or values["speedup"]):
            need("speedup", over, BASELINES)
        return cls(**(tuples(values) | {"exit": point}))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A contender's answers on the timed examples beside those of our encoder with everything off."""

    examples: int  # how many were compared
    difference: float  # the largest between two logits
    tolerance: float  # up to here it is rounding, in the type of the weights
    differ: int  # examples with another label; 0 in regression
    near_ties: int  # those among them whose two best logits are too close for rounding to tell

    @property
    def same(self) -> bool:
        """Whether both are one model up to rounding, so that what is known of one holds for the other."""
        return self.difference <= self.tolerance and self.differ == self.near_ties


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
class OwnQuality:
    """How good the answers of another engine than eat's own are, on the main split.

    Of one that does not compute the model's own function, with everything off; and of an operating point, which has a
    depth and a cost as well: those of `eat.traces.quality.Point`.
    """

    metrics: Mapping[str, float]  # by name
    delta: tuple[float, float, float] | None  # points to the model's full depth, with its interval
    ece: float | None  # expected calibration error; None in regression
    avg_depth: float | None = None
    retention: float | None = None
    gflops: float | None = None
    flops_ratio: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; depth and cost are left out where there are none."""
        optional = ("avg_depth", "retention", "gflops", "flops_ratio")
        return {key: value for key, value in vars(self).items() if value is not None or key not in optional}


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
    beside_all_off: Mapping[str, Comparison] = dataclasses.field(default_factory=dict)  # empty in older files
    quality: Mapping[str, OwnQuality] = dataclasses.field(default_factory=dict)  # by contender; empty in older files
    answers: Mapping[str, list[list[float]]] = dataclasses.field(default_factory=dict, repr=False)  # logits
    on_whole: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)  # logits on the whole main split

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
        if self.beside_all_off:
            nested["beside_all_off"] = {name: dataclasses.asdict(one) for name, one in self.beside_all_off.items()}
        if self.quality:
            nested["quality"] = {name: one.to_json() for name, one in self.quality.items()}
        empty = [name for name in ("beside_all_off", "quality") if not getattr(self, name)]
        left_out = ["answers", "on_whole", *empty]
        return {key: value for key, value in (vars(self) | nested).items() if key not in left_out}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Benchmark":
        """Read back what `to_json` gave, of this version or an older one."""
        need("environment", values["environment"], ("device", "dtype"))
        need("settings", values["settings"], ("rounds", "warmup"))
        if not values["measurements"]:
            raise ValueError("measurements: expected at least one, got none")
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
            beside_all_off={name: Comparison(**one) for name, one in values.get("beside_all_off", {}).items()},
            quality={name: OwnQuality(**tuples(one)) for name, one in values.get("quality", {}).items()},
        )


def write_benchmark(folder: Path, benchmark: Benchmark, fingerprint: str) -> None:
    """Write the measurements of these weights."""
    write_text(folder / FILE, json.dumps({"fingerprint": fingerprint, **benchmark.to_json()}, indent=1) + "\n")


def read_benchmark(folder: Path, fingerprint: str) -> Benchmark | None:
    """Read what was measured earlier; None where nothing was, or where it was measured on other weights."""
    return read_for(folder / FILE, fingerprint, Benchmark.from_json, "measured on", "benchmark")


def timed_exits(benchmark: Benchmark | None) -> list[OperatingPoint]:
    """List the operating points of eat's own engine that were measured, each once."""
    found = [one.exit for one in benchmark.measurements if one.exit and one.engine == EAT] if benchmark else []
    return list(dict.fromkeys(found))
