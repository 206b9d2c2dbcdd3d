"""Times that were measured, kept beside the report: tables are rebuilt from them where the weights are gone."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from eat.evaluation.analysis import Findings
from eat.evaluation.cost import Costs
from eat.evaluation.quality import predictions
from eat.evaluation.sweep import replay
from eat.exits import build_exit
from eat.files import write_text

log = logging.getLogger(__name__)

FILE = "benchmark.json"


def compare_with_replay(
    measured: Mapping[str, Any], findings: Findings, index: Int[np.ndarray, " drawn"]
) -> dict[str, Any]:
    """Set what was answered live beside what was replayed, and the work that was saved on just these examples.

    Args:
        measured: What `run_benchmark` returned.
        findings: The run's findings.
        index: Rows of the main split that were drawn, in order.

    Returns:
        The same without ``answers``; with ``agreement`` (contender -> [equal predictions, examples]) and, in each
        measurement of an operating point, ``flops_ratio`` to the encoder with everything off.
    """
    trace, dense = findings.traces[findings.main], findings.dense_traces[findings.main]
    costs, full = Costs(trace), Costs(dense).dense
    agreement, measurements = {}, []
    exits = {m["contender"]: m["exit"] for m in measured["measurements"]}
    for name, answers in measured["answers"].items():
        spec = exits.get(name)
        expected = replay(trace, build_exit(spec)).logits if spec else dense.all_logits[:, -1]
        rows = index[: len(answers)]
        live, replayed = predictions(np.asarray(answers)), predictions(expected[rows])
        equal = np.isclose(live, replayed, rtol=1e-3, atol=1e-3) if trace.is_regression else live == replayed
        agreement[name] = [int(equal.sum()), len(rows)]
    for measurement in measured["measurements"]:
        rows, spec = index[: measurement["examples"]], measurement["exit"]
        ratio = None
        if spec:
            criterion = build_exit(spec)
            ratio = float(costs.executed(replay(trace, criterion), criterion)[rows].sum() / full[rows].sum())
        measurements.append(measurement | {"flops_ratio": ratio})
    kept = {key: value for key, value in measured.items() if key != "answers"}
    return kept | {"measurements": measurements, "agreement": agreement}


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


def timed_exits(measured: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """List the operating points that were measured, each once."""
    exits = [m["exit"] for m in (measured or {}).get("measurements", []) if m["exit"] is not None]
    return [spec for i, spec in enumerate(exits) if spec not in exits[:i]]
