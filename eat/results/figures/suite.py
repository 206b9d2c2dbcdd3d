"""What figures compare: finished runs of one task, budget and protocol, those that differ in the seed alone together."""

from __future__ import annotations

import dataclasses
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from eat.evaluation.report.figures import metric_name
from eat.exits.points import OperatingPoint
from eat.results.figures.evidence import Evidence
from eat.runs.naming import fingerprint
from eat.traces.sweeps import distinct, sweep
from eat.traces.trace import Trace

Experiments = Mapping[str, Sequence[Evidence]]
"""Label -> the runs of one experiment, which differ in their seed alone."""
NO_HOLDOUT = "none"
THRESHOLDS = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99, 1.0)
"""At which figures show a criterion: the paper's 0.80 to 0.95 and what surrounds them."""


class NothingToDrawError(ValueError):
    """No run has what a figure shows; the message says what is missing and how to get it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Suite:
    """Experiments that may stand in one figure; dense and static ones come first."""

    experiments: Experiments

    @property
    def runs(self) -> list[Evidence]:
        """All runs."""
        return [run for runs in self.experiments.values() for run in runs]

    @property
    def first(self) -> Trace:
        """Trace of the reported split of some run: its labels and metric are those of all."""
        return self.runs[0].traces.reported

    @property
    def dense(self) -> str | None:
        """Label of the dense experiment; None where there is none."""
        return next((label for label, (run, *_) in self.experiments.items() if self.kind(run) == "dense"), None)

    @property
    def metric(self) -> str:
        """What axes call the primary metric."""
        return metric_name(self.first.task.metrics[0])

    @property
    def name(self) -> str:
        """Name of the folder that its figures lie in."""
        *names, holdout = _key(self.runs[0])
        return "-".join([*map(str, filter(None, names)), *([f"holdout_{holdout}"] if holdout else [])])

    @property
    def subject(self) -> str:
        """What the figures are about, as they say it: the split, how much of the data, budget and protocol."""
        task, backbone, budget, holdout = _key(self.runs[0])
        trace = self.first
        data = "" if trace.metadata.get("data") in (None, "", "complete") else f", {trace.metadata['data']}"
        seeds = sorted({len(runs) for runs in self.experiments.values()})
        parts = [
            f"{task} {trace.split} ({len(trace):,} examples{data})",
            f"{backbone}, budget {budget}",
            f"{seeds[0]} seed{'s' if seeds[0] > 1 else ''}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds",
        ]
        if holdout == NO_HOLDOUT:
            parts.append(f"holdout=none: thresholds chosen on {trace.split}")
        return "; ".join(parts)

    def kind(self, run: Evidence) -> str:
        """Return "dense", "static" (dense with fewer layers), or "adaptive"."""
        if not run.is_plain:
            return "adaptive"
        return "dense" if run.num_layers == max(other.num_layers for other in self.runs) else "static"

    def of_kind(self, *kinds: str) -> dict[str, Sequence[Evidence]]:
        """Return the experiments of some kinds."""
        return {label: runs for label, runs in self.experiments.items() if self.kind(runs[0]) in kinds}

    @property
    def dense_flops(self) -> float:
        """Executed work of the dense encoder over the split: what compute is normalised by, for static models too."""
        deepest = max(self.runs, key=lambda run: run.num_layers)
        return float(deepest.traces.reported.costs.dense.sum())

    def compute(self, trace: Trace, flops: np.ndarray) -> float:
        """Normalise the executed work of a run's answers to the reported split."""
        return float(flops.sum()) / self.dense_flops


def suites(runs: Sequence[Evidence]) -> Iterator[Suite]:
    """Sort runs into suites: by task, backbone, budget and protocol.

    Raises:
        ValueError: If runs that belong together answer other examples, or an experiment has a seed twice.
    """
    groups: dict[tuple[str | None, ...], list[Evidence]] = {}
    for run in runs:
        groups.setdefault(_key(run), []).append(run)
    for group in groups.values():
        for run in group[1:]:
            _check_alike(group[0], run)
        yield _ordered(Suite(_labelled(group)))


def _key(run: Evidence) -> tuple[str | None, ...]:
    """Return what runs have in common that may be compared: task, backbone, budget, protocol."""
    parts = [run.config.get(key) or {} for key in ("task", "backbone", "budget", "holdout")]
    return tuple(part.get("name") if isinstance(part, Mapping) else str(part) for part in parts)


def _check_alike(one: Evidence, other: Evidence) -> None:
    ours, theirs = one.traces.reported, other.traces.reported
    if ours.split != theirs.split or not np.array_equal(ours.labels, theirs.labels):
        raise ValueError(
            f"runs: {one.name} and {other.name} have one task, budget and protocol, but answer other examples: "
            f"{len(ours):,} of {ours.split!r} and {len(theirs):,} of {theirs.split!r}; draw them apart"
        )


def _labelled(runs: Sequence[Evidence]) -> dict[str, list[Evidence]]:
    """Name experiments as ``experiment/*.yaml`` does, and by what differs where several have the same name."""
    groups: dict[str, list[Evidence]] = {}
    for run in runs:
        groups.setdefault(_identity(run), []).append(run)
    for same in groups.values():
        seeds = [run.config.get("seed") for run in same]
        twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
        if twice is not None:
            one, other = (run.name for run in same if run.config.get("seed") == twice)
            raise ValueError(f"runs: {one} and {other} are one experiment with seed {twice}; leave one of them out")
    names = [str(same[0].config.get("experiment") or "run").rsplit("/", 1)[-1] for same in groups.values()]
    labels = {}
    for name, same in zip(names, groups.values(), strict=True):
        clash = [_parts(other[0]) for n, other in zip(names, groups.values(), strict=True) if n == name]
        common = set.intersection(*map(set, clash))
        own = "" if len(clash) == 1 else " ".join(part for part in _parts(same[0]) if part not in common)
        label = own or name
        labels[label if label not in labels else f"{label} {_identity(same[0])}"] = same
    return labels


def _identity(run: Evidence) -> str:
    """Name the experiment: all of the configuration but the seed, and which run of a teacher taught."""
    objective = dict(run.config.get("objective") or {})
    if objective.get("teacher"):
        objective["teacher"] = True  # a run of the same seed
    return fingerprint({**run.config, "objective": objective, "seed": None})


def _parts(run: Evidence) -> list[str]:
    return re.sub(r"-seed\d+-[0-9a-f]{8}", "", run.name).split("-")


def _ordered(suite: Suite) -> Suite:
    """Put the dense experiment first, then static ones by depth, then the others by name."""
    kinds = ("dense", "static", "adaptive")

    def place(label: str) -> tuple[int, int, str]:
        run = suite.experiments[label][0]
        kind = kinds.index(suite.kind(run))
        return kind, run.num_layers if kind == 1 else 0, label

    return Suite({label: suite.experiments[label] for label in sorted(suite.experiments, key=place)})


def usual(names: Sequence[str]) -> str:
    """Return what most are called, so that a figure says it once; empty where there are none."""
    return statistics.mode(names) if names else ""


def swept_points(run: Evidence) -> list[OperatingPoint]:
    """List the operating points of a run's own criterion, those at which all leave as at the one before left out."""
    trace = run.traces.reported
    return distinct(trace, sweep(run.point, len(trace.head_depths), THRESHOLDS))
