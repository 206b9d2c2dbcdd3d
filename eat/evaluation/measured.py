"""Times that were measured, kept beside the report: tables are rebuilt from them where the weights are gone."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eat.benchmark.shortcuts import Shortcut
from eat.exits.points import OperatingPoint
from eat.files import write_text
from eat.traces.quality import predictions
from eat.traces.replay import replay
from eat.traces.run_traces import RunTraces

log = logging.getLogger(__name__)

FILE = "benchmark.json"


def compare_with_replay(
    measured: Mapping[str, Any],
    traces: RunTraces,
    index: Int[np.ndarray, " drawn"],
    shortcuts: Sequence[Shortcut] = (),
) -> dict[str, Any]:
    """Set what was answered live beside what was replayed, and the work that was saved on just these examples.

    Args:
        measured: What `run_benchmark` returned.
        traces: The run's traces.
        index: Rows of the main split that were drawn, in order.
        shortcuts: The static shortcuts among the contenders.

    Returns:
        The same without ``answers``; with ``agreement`` (contender -> [equal predictions, examples]), ``shortcuts``
        (name -> its facts) and, in each measurement of ours, ``flops_ratio`` to the encoder with everything off.
    """
    expected = _Expected(traces, shortcuts)
    exits = {m["contender"]: m["exit"] for m in measured["measurements"]}
    agreement = {}
    for name, answers in measured["answers"].items():
        rows = index[: len(answers)]
        live, replayed = predictions(np.asarray(answers)), predictions(expected.logits(name, exits.get(name))[rows])
        equal = np.isclose(live, replayed, rtol=1e-3, atol=1e-3) if expected.is_regression else live == replayed
        agreement[name] = [int(equal.sum()), len(rows)]
    measurements = []
    for measurement in measured["measurements"]:
        executed = expected.executed(measurement["contender"], measurement["exit"])
        rows = index[: measurement["examples"]]
        ratio = None if executed is None else float(executed[rows].sum() / expected.dense[rows].sum())
        measurements.append(measurement | {"flops_ratio": ratio})
    kept = {key: value for key, value in measured.items() if key != "answers"}
    facts = {shortcut.name: shortcut.facts(traces) for shortcut in shortcuts}
    return kept | {"measurements": measurements, "agreement": agreement, "shortcuts": facts}


class _Expected:
    """What each contender should answer to the main split, and the work that ours should do, from traces alone."""

    def __init__(self, traces: RunTraces, shortcuts: Sequence[Shortcut]) -> None:
        self._trace, self._dense_trace = traces.reported, traces.all_off[traces.main]
        self._shortcuts = {shortcut.name: shortcut.trace for shortcut in shortcuts}
        self.dense = self._dense_trace.costs.dense
        self.is_regression = self._trace.is_regression

    def logits(self, name: str, spec: Mapping[str, Any] | None) -> Float[np.ndarray, "examples classes"]:
        """Return the logits of an operating point, of a shortcut, else of the encoder with everything off."""
        if spec is not None:
            return replay(self._trace, OperatingPoint.of(spec)).logits
        return self._shortcuts.get(name, self._dense_trace).full_depth

    def executed(self, name: str, spec: Mapping[str, Any] | None) -> Float[np.ndarray, " examples"] | None:
        """Return the FLOPs of each example; None for what is not ours or does all the work."""
        if spec is not None:
            return self._trace.costs.executed(replay(self._trace, OperatingPoint.of(spec)))
        return self._shortcuts[name].costs.dense if name in self._shortcuts else None


def write_benchmark(folder: Path, measured: Mapping[str, Any], fingerprint: str) -> None:
    """Write the measurements of these weights.

    Raises:
        OSError: If writing fails; an older file stays.
    """
    write_text(folder / FILE, json.dumps({"fingerprint": fingerprint, **measured}, indent=1) + "\n")


def read_benchmark(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """Read what was measured earlier; None where nothing was, or where it was measured on other weights.

    Args:
        folder: The report folder.
        fingerprint: Of the weights that the report is about.

    Raises:
        ValueError: If the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        measured: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        measured_on = measured["fingerprint"]
    except (json.JSONDecodeError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and run stages=[benchmark] again") from error
    if measured_on != fingerprint:
        log.warning("%s was measured on other weights and is left out; run stages=[benchmark] again", path)
        return None
    return measured


def timed_exits(measured: Mapping[str, Any] | None) -> list[OperatingPoint]:
    """List the operating points that were measured, each once."""
    exits = [m["exit"] for m in (measured or {}).get("measurements", []) if m["exit"] is not None]
    return list(dict.fromkeys(map(OperatingPoint.of, exits)))
