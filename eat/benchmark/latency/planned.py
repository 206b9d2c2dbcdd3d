"""A plan as it is kept: the budget, the chosen operating point, its cost as predicted and as measured, its quality."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eat.benchmark.contenders import BASELINES
from eat.benchmark.latency.candidates import Candidate
from eat.benchmark.latency.fit import Fit
from eat.benchmark.protocol import Ratio
from eat.benchmark.stored import need, read_for, tuples
from eat.exits.points import OperatingPoint
from eat.files import write_text
from eat.traces.statistics import Interval

FILE = "plan.json"


@dataclasses.dataclass(frozen=True)
class Speed:
    """What calls of the chosen point take, predicted or measured."""

    latency_ms: float  # mean over calls
    latency_ms_p50: float  # median over calls
    latency_ms_p95: float  # 95th percentile over calls
    examples_per_s: float  # texts per second
    speedup: Mapping[str, Ratio]  # over each baseline


@dataclasses.dataclass(frozen=True)
class Quality:
    """The chosen point's quality on a split."""

    value: float | None  # the primary metric; None where it is undefined
    interval: Interval | None  # its 95 % interval; None where there is none
    points_to_full_depth: Ratio | None  # points gained over full depth, with the ends of the interval
    examples: int  # examples of the split


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What was chosen for a budget, and what it was chosen by."""

    budget: Mapping[str, int | float]  # ``latency_ms`` or ``speedup``
    batch_size: int  # texts in a call
    threads: int  # threads inside operators
    texts: int  # texts of the threshold split that were timed
    mean_length: float  # their mean length in tokens
    machine: Mapping[str, Any]  # what times depend on
    exit: OperatingPoint  # the chosen operating point
    predicted: Speed  # its cost before it was measured
    measured: Speed  # its cost
    metric: str  # the primary metric
    quality: Mapping[str, Quality]  # on the threshold split and on the reported one, by split
    agreement: tuple[int, int]  # live answers that equal the replayed ones, and how many were compared
    fit: Fit  # the short measurements that times were predicted from
    candidates: tuple[Candidate, ...]  # all operating points that were considered

    def to_json(self) -> dict[str, Any]:
        """Return what `plan.json` holds; JSON values only."""
        nested = {
            "exit": self.exit.spec,
            "predicted": dataclasses.asdict(self.predicted),
            "measured": dataclasses.asdict(self.measured),
            "quality": {split: dataclasses.asdict(quality) for split, quality in self.quality.items()},
            "fit": dataclasses.asdict(self.fit),
            "candidates": [candidate.to_json() for candidate in self.candidates],
        }
        return {"calibration" if key == "fit" else key: value for key, value in (vars(self) | nested).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Plan":
        """Read back what `to_json` gave, whatever stands beside it."""
        for name in ("predicted", "measured"):
            need(f"{name}.speedup", values[name]["speedup"], BASELINES)
        plain = {field.name: values[field.name] for field in dataclasses.fields(cls) if field.name != "fit"}
        nested = {
            "exit": OperatingPoint.of(values["exit"]),
            "predicted": Speed(**tuples(values["predicted"])),
            "measured": Speed(**tuples(values["measured"])),
            "quality": {split: Quality(**tuples(one)) for split, one in values["quality"].items()},
            "agreement": tuple(values["agreement"]),
            "fit": Fit.from_json(values["calibration"]),
            "candidates": tuple(map(Candidate.from_json, values["candidates"])),
        }
        return cls(**(plain | nested))


def save_plan(folder: Path, plan: Plan, *, run: str, fingerprint: str) -> None:
    """Write plan.json."""
    values = {"run": run, "fingerprint": fingerprint, **plan.to_json()}
    write_text(folder / FILE, json.dumps(values, indent=1) + "\n")


def read_plan(folder: Path, fingerprint: str) -> Plan | None:
    """Read an earlier plan; None where none was made, or it was made for other weights."""
    return read_for(folder / FILE, fingerprint, Plan.from_json, "made for", "plan")
