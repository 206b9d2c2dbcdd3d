"""A plan as it is kept: the budget, the chosen operating point, its cost as predicted and as measured, its quality."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eat.benchmark.latency.candidates import Candidate
from eat.benchmark.latency.fit import Fit
from eat.benchmark.protocol import Ratio
from eat.benchmark.results import read_for
from eat.exits.points import OperatingPoint
from eat.files import write_text
from eat.traces.statistics import Interval

FILE = "plan.json"


@dataclasses.dataclass(frozen=True)
class Speed:
    """What calls of the chosen point take, predicted or measured.

    Attributes:
        latency_ms: Mean over calls.
        latency_ms_p50: Median over calls.
        latency_ms_p95: 95th percentile over calls.
        examples_per_s: Texts per second.
        speedup: Over each baseline.
    """

    latency_ms: float
    latency_ms_p50: float
    latency_ms_p95: float
    examples_per_s: float
    speedup: Mapping[str, Ratio]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Speed":
        """Read back what `dataclasses.asdict` gave."""
        return cls(**(dict(values) | {"speedup": {name: tuple(ratio) for name, ratio in values["speedup"].items()}}))


@dataclasses.dataclass(frozen=True)
class Quality:
    """The chosen point's quality on a split.

    Attributes:
        value: The primary metric; None where it is undefined.
        interval: Its 95 % interval; None where there is none.
        points_to_full_depth: Points gained over full depth, with the ends of the interval.
        examples: Examples of the split.
    """

    value: float | None
    interval: Interval | None
    points_to_full_depth: Ratio | None
    examples: int

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Quality":
        """Read back what `dataclasses.asdict` gave."""
        read: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**read)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What was chosen for a budget, and what it was chosen by.

    Attributes:
        budget: ``latency_ms`` or ``speedup``.
        batch_size: Texts in a call.
        threads: Threads inside operators.
        texts: Texts of the threshold split that were timed.
        mean_length: Their mean length in tokens.
        machine: What times depend on.
        exit: The chosen operating point.
        predicted: Its cost before it was measured.
        measured: Its cost.
        metric: The primary metric.
        quality: On the threshold split and on the reported one, by split.
        agreement: Live answers that equal the replayed ones, and how many were compared.
        fit: The short measurements that times were predicted from.
        candidates: All operating points that were considered.
    """

    budget: Mapping[str, int | float]
    batch_size: int
    threads: int
    texts: int
    mean_length: float
    machine: Mapping[str, Any]
    exit: OperatingPoint
    predicted: Speed
    measured: Speed
    metric: str
    quality: Mapping[str, Quality]
    agreement: tuple[int, int]
    fit: Fit
    candidates: tuple[Candidate, ...]

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
        """Read back what `to_json` gave."""
        plain = {key: value for key, value in values.items() if key != "calibration"}
        nested = {
            "exit": OperatingPoint.of(values["exit"]),
            "predicted": Speed.from_json(values["predicted"]),
            "measured": Speed.from_json(values["measured"]),
            "quality": {split: Quality.from_json(one) for split, one in values["quality"].items()},
            "agreement": tuple(values["agreement"]),
            "fit": Fit.from_json(values["calibration"]),
            "candidates": tuple(map(Candidate.from_json, values["candidates"])),
        }
        return cls(**(plain | nested))


def save_plan(folder: Path, plan: Plan, *, run: str, fingerprint: str) -> None:
    """Write plan.json.

    Raises:
        OSError: If writing fails; an older file stays.
    """
    values = {"run": run, "fingerprint": fingerprint, **plan.to_json()}
    write_text(folder / FILE, json.dumps(values, indent=1) + "\n")


def read_plan(folder: Path, fingerprint: str) -> Plan | None:
    """Read an earlier plan; None where none was made, or it was made for other weights.

    Args:
        folder: The report folder.
        fingerprint: Of the weights that the report is about.

    Raises:
        ValueError: If the file is damaged.
    """

    def build(values: dict[str, Any]) -> Plan:
        return Plan.from_json({key: value for key, value in values.items() if key != "run"})

    return read_for(folder / FILE, fingerprint, build, "made for", "plan")
