"""The traces of a run, by the role that each split has."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eat.checks import shown
from eat.models.engines import OWN, EngineId
from eat.runs.finished import FinishedRun, with_temperatures
from eat.runs.naming import NO_HOLDOUT
from eat.traces.check import check_metadata
from eat.traces.storage import read_trace
from eat.traces.trace import Trace

log = logging.getLogger(__name__)

ALL_OFF_SUFFIX = ".all_off"
"""Ends the name of a trace made with the same weights, full attention and no pruning: what dense baselines answer."""

Role = Literal["threshold", "certification"]
"""Splits held out of training: thresholds are chosen on the first, certificates rest on the second."""


@dataclasses.dataclass(frozen=True, eq=False)
class RunTraces:
    """What a run's model answers, by split."""

    name: str  # of the run, for messages
    splits: Mapping[str, Trace]  # of each split: those held out, and those that are reported
    all_off: Mapping[str, Trace]  # with everything off, of each reported split; the run's own where nothing is on
    chooses_on_reported: bool = False  # nothing was held out for thresholds (holdout=none, the paper's protocol)

    @classmethod
    def of(cls, name: str, traces: Mapping[str, Trace], *, chooses_on_reported: bool = False) -> RunTraces:
        """Sort traces by role; names of those with everything off end in `ALL_OFF_SUFFIX`."""
        own = {split: trace for split, trace in traces.items() if not split.endswith(ALL_OFF_SUFFIX)}
        reported = {split: trace for split, trace in own.items() if trace.metadata["reported"]}
        off = {split: traces.get(f"{split}{ALL_OFF_SUFFIX}", trace) for split, trace in reported.items()}
        return cls(name, own, off, chooses_on_reported)

    @property
    def main(self) -> str:
        """Name of the reported split that figures and benchmarks are about: the first."""
        return next(iter(self.all_off))

    @property
    def reported(self) -> Trace:
        """Trace of the main reported split."""
        return self.splits[self.main]

    @property
    def fingerprint(self) -> str:
        """Names the weights and configuration that answered."""
        return str(next(iter(self.splits.values())).metadata["fingerprint"])

    @property
    def engine(self) -> EngineId:
        """What ran the weights."""
        return engine_of_trace(self.reported)

    @property
    def has_early_heads(self) -> bool:
        """True where a sequence could leave before the last layer."""
        return len(self.reported.head_depths) > 1

    @property
    def thresholds_from(self) -> str:
        """Which split thresholds are chosen on, for people."""
        return "the reported split (holdout=none)" if self.chooses_on_reported else "the threshold split"

    def get(self, role: Role) -> Trace | None:
        """Return the trace of a held-out split; None where the run held none out.

        Of ``holdout=none``, where thresholds are chosen on what is reported, that is the reported split.
        """
        if role == "threshold" and self.chooses_on_reported:
            return self.reported
        return self.splits.get(role)

    def need(self, role: Role, why: str) -> Trace:
        """Return the trace of a split that must have been held out; ``why`` says who asks, for the message."""
        trace = self.get(role)
        if trace is None:
            raise ValueError(
                f"{why}: expected a {role} split, {self.name} has {sorted(self.splits)}; train with holdout=standard "
                f"or small, or data.{role}_examples above 0"
            )
        return trace

    def same_examples(self, split: str, trace: Trace, argument: str, *, all_off: bool = False) -> Trace:
        """Return this run's trace of a split, which must answer the same examples as another run's.

        An error calls this run ``argument``; ``all_off`` takes what its weights answer with everything off.
        """
        own = self.all_off if all_off else self.splits
        if split not in own or not np.array_equal(own[split].labels, trace.labels):
            raise ValueError(
                f"{argument}: its trace must answer the same {len(trace)} examples of {shown(split)}, in order; it has "
                + (f"{len(own[split])} examples" if split in own else f"the splits {sorted(own)}")
            )
        return own[split]

    def calibrated(self, temperatures: Sequence[float] | None) -> RunTraces:
        """Return what the same model answers once its heads have other temperatures; None leaves logits raw."""
        own = {name: _divided(trace.raw, temperatures) for name, trace in self.splits.items()}
        off = {
            name: own[name] if trace is self.splits[name] else _divided(trace.raw, temperatures)
            for name, trace in self.all_off.items()
        }
        return dataclasses.replace(self, splits=own, all_off=off)

    @property
    def files(self) -> dict[str, Trace]:
        """The traces by the name that a run keeps each under; the inverse of `of`."""
        off = {f"{name}{ALL_OFF_SUFFIX}": t for name, t in self.all_off.items() if t is not self.splits[name]}
        return {**self.splits, **off}


def trace_folder(run: FinishedRun, engine: EngineId = OWN) -> Path:
    """Return where a run keeps the traces of an engine: those of others than eat's own in a folder of their own."""
    return run.folder / "trace" / ("" if engine.is_eat else engine.name)


def trace_path(run: FinishedRun, name: str, engine: EngineId = OWN) -> Path:
    """Return where a run keeps a trace."""
    return trace_folder(run, engine) / f"{name}.parquet"


def engine_of_trace(trace: Trace) -> EngineId:
    """Return the engine that a trace was made with; eat's own where it names none."""
    return EngineId(trace.metadata.get("engine", OWN.name), trace.metadata.get("bits"))


def read_traces(run: FinishedRun, engine: EngineId = OWN) -> RunTraces:
    """Read what a run's model answers, run by an engine.

    Files hold raw logits. They are divided here by the temperatures of the model in the folder, or, without one, by
    those that it had: calibrating a model makes none of its traces obsolete.

    Raises:
        FileNotFoundError: If one that belongs to the set is missing.
        ValueError: If one is damaged or not raw.
    """
    own = run.temperatures(engine) if run.has_weights else None
    divided = {
        name: _divided(trace, own if run.has_weights else trace.config["heads"].get("temperatures"))
        for name, trace in read_raw_traces(run, engine).items()
    }
    return RunTraces.of(run.name, divided, chooses_on_reported=run.holdout == NO_HOLDOUT)


def read_raw_traces(run: FinishedRun, engine: EngineId = OWN) -> dict[str, Trace]:
    """Read all traces of a run by an engine as they lie there, with raw logits; raises as `read_traces`."""
    folder = trace_folder(run, engine)
    paths = {path.stem: path for path in sorted(folder.glob("*.parquet"))}
    traces = {name: read_own(path, engine.name) for name, path in paths.items()}
    expected = next(iter(traces.values())).metadata["traces"] if traces else []
    missing = [name for name in expected if name not in traces]
    if missing:
        raise FileNotFoundError(
            f"trace: {folder} lacks {', '.join(f'{name}.parquet' for name in missing)}; "
            "evaluate with fresh=true to make all of them anew, which needs the weights"
        )
    weights = {traces[name].metadata["fingerprint"]: name for name in expected}
    if len(weights) > 1:
        raise ValueError(
            f"trace: the files in {folder} are of different weights ({', '.join(weights.values())}); "
            "evaluate with fresh=true to make all of them anew, which needs the weights"
        )
    return {name: traces[name] for name in expected}


def read_own(path: Path, engine: str = OWN.name) -> Trace:
    """Read a trace that a run keeps, and check what it says of model, engine and the split that the file is named for.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or another's; the message names the file.
    """
    trace = read_trace(path)
    try:
        check_metadata(trace, path.stem.removesuffix(ALL_OFF_SUFFIX), engine)
    except ValueError as error:
        raise ValueError(f"{path} is not a trace of this run ({error}); delete it and evaluate again") from error
    return trace


def read_current(run: FinishedRun, engine: EngineId = OWN) -> RunTraces | None:
    """Read a run's traces by an engine; None where one is missing or was made by other weights or on other data.

    Raises:
        FileNotFoundError: If one is missing and there are no weights to make it anew.
        ValueError: If one is damaged, likewise.
    """
    try:
        traces = read_traces(run, engine)
        every = (*traces.splits.values(), *traces.all_off.values())
        found = {trace.metadata["fingerprint"] for trace in every}
    except (FileNotFoundError, ValueError) as error:
        if not run.has_weights:
            raise
        log.info("traces are made anew: %s", error)
        return None
    if not every:  # none was made yet
        return None
    noted, answered = run.environment().get("data"), {trace.metadata.get("data_fingerprint") for trace in every}
    other_data = noted is not None and answered != {noted}
    if other_data:
        kept = "they are made anew" if run.has_weights else "and cannot be made anew without its weights"
        log.warning("traces of %s answer other data than it was trained with; %s", run.folder, kept)
    return None if run.has_weights and (other_data or found != {run.fingerprint(engine)}) else traces


def need_current(run: FinishedRun, argument: str, engine: EngineId = OWN) -> RunTraces:
    """Read another run's traces, which must be those of its weights; else the error says how to make them."""
    traces = read_current(run, engine)
    if traces is None:
        using = "" if engine.is_eat else f" engine={engine.name}"
        raise ValueError(
            f"{argument}: the traces of {run.folder} are missing or of other weights; make them first with "
            f"`python evaluate.py run={run.folder}{using} stages=[quality]`"
        )
    return traces


def with_heads_temperatures(config: Mapping[str, Any], temperatures: Sequence[float] | None) -> dict[str, Any]:
    """Return a model's configuration with other temperatures of its heads; None leaves the key out."""
    heads = {key: value for key, value in config["heads"].items() if key != "temperatures"}
    return {**config, "heads": heads if temperatures is None else heads | {"temperatures": list(temperatures)}}


def _divided(trace: Trace, temperatures: Sequence[float] | None) -> Trace:
    """Return what the model answers once its heads have these temperatures, of a trace of raw logits."""
    raw = trace.metadata
    answered = {
        "config": with_heads_temperatures(trace.config, temperatures),
        "fingerprint": with_temperatures(raw["fingerprint"], temperatures),
    }
    divided = trace.divided(temperatures)
    return dataclasses.replace(divided, metadata=raw | answered, undivided=divided.undivided)
