"""What figures compare: the runs of a block, sorted into experiments as tables sort them."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from eat.evaluation.report.figures import metric_name
from eat.exits.points import OperatingPoint
from eat.results.figures.evidence import Evidence
from eat.results.group import Block, Experiment
from eat.runs.naming import NO_HOLDOUT
from eat.traces.sweeps import distinct, sweep
from eat.traces.trace import Trace

Experiments = Mapping[str, Sequence[Evidence]]
"""Label -> the runs of one experiment, which differ in their seed alone."""
THRESHOLDS = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99, 1.0)
"""At which figures show a criterion: the paper's 0.80 to 0.95 and what surrounds them."""


class NothingToDrawError(ValueError):
    """No run has what a figure shows; the message says what is missing and how to get it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Suite:
    """Experiments that may stand in one figure; dense and static ones come first."""

    block: Block
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
    def subject(self) -> str:
        """What the figures are about, as they say it: the split, how much of the data, budget and protocol."""
        block, trace = self.block, self.first
        data = "" if block.data == "complete" else f", {block.data}"
        seeds = sorted({len(runs) for runs in self.experiments.values()})
        parts = [
            f"{block.task} {block.split} ({len(trace):,} examples{data})",
            f"{block.weights}, budget {block.budget}",
            f"{seeds[0]} seed{'s' if seeds[0] > 1 else ''}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds",
        ]
        if block.holdout == NO_HOLDOUT:
            parts.append(f"holdout=none: thresholds chosen on {block.split}")
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


def read_suite(block: Block, experiments: Sequence[Experiment]) -> tuple[Suite | None, list[str]]:
    """Read a block's runs: dense ones first, then static ones by depth, then the others by name.

    Returns:
        The suite, None where nothing of it can be drawn, and a note for each run that is left out.
    """
    read, notes = {}, []
    labels: np.ndarray | None = None
    for experiment in experiments:
        runs = []
        for logged in experiment.runs:
            answered = logged.traces.reported.labels
            labels = answered if labels is None else labels
            try:
                if not np.array_equal(answered, labels):
                    raise ValueError(f"{logged.run.name} answers other examples of {block.split!r} than the others do")
                runs.append(Evidence.of(logged))
            except ValueError as error:
                notes.append(f"left out: {error}")
        if runs:
            read[experiment.name] = runs
    if not read:
        return None, notes
    suite = Suite(block, read)
    kinds = ("dense", "static", "adaptive")

    def place(label: str) -> tuple[int, int, str]:
        run = read[label][0]
        kind = kinds.index(suite.kind(run))
        return kind, run.num_layers if kind == 1 else 0, label

    return Suite(block, {label: read[label] for label in sorted(read, key=place)}), notes


def usual(names: Sequence[str]) -> str:
    """Return what most are called, so that a figure says it once; empty where there are none."""
    return statistics.mode(names) if names else ""


def shown_points(run: Evidence) -> list[OperatingPoint]:
    """List what figures show of a run's own criterion, without points at which all leave as at the one before."""
    trace = run.traces.reported
    return distinct(trace, sweep(run.point, len(trace.head_depths), THRESHOLDS))
