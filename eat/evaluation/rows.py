"""Findings and measurements as rows of a results table."""

from collections.abc import Mapping
from typing import Any

from eat.evaluation.analysis import FULL_DEPTH, Findings
from eat.evaluation.contenders import ALL_OFF, GROUPED, PADDED
from eat.evaluation.finished import FinishedRun
from eat.evaluation.quality import Point
from eat.evaluation.sweep import label
from eat.evaluation.tables import Row
from eat.evaluation.trace import Trace

DENSE = {"attention": "full", "window": None, "pruner": "none", "depths": None, "ratio": None}
LABELS = {PADDED: "Hugging Face, padded", GROUPED: "Hugging Face, by length", ALL_OFF: "eat, everything off"}


def quality_rows(run: FinishedRun, findings: Findings) -> list[Row]:
    """Return one row for each split, operating point and metric; deltas stand beside the primary metric only.

    `delta_*` is to the dense run where one was given as baseline, else to the same model's own full depth.
    """
    rows = []
    for name, trace in findings.traces.items():
        for point in findings.points.get(name, [findings.own_points[name]]):
            rows += _point_rows(run, trace, point)
    return rows


def frontier_rows(
    run: FinishedRun, findings: Findings, benchmark: Mapping[str, Any] | None, baseline: str = PADDED
) -> list[Row]:
    """Return the primary metric beside the cost: baselines, full depth, swept points; times where they were measured.

    Args:
        run: The run.
        findings: Its findings.
        benchmark: What `run_benchmark` measured, or None.
        baseline: The contender that speed-ups are over.
    """
    measured = benchmark_rows(run, findings, benchmark, baseline) if benchmark else []
    live = {(row["exit"], row["threshold"], row["patience"]) for row in measured if row["engine"] == "eat"}
    rows = list(measured)
    for name, points in findings.points.items():
        for point in points:
            row = _point_rows(run, findings.traces[name], point)[0]
            if name != findings.main or (row["exit"], row["threshold"], row["patience"]) not in live:
                rows.append(row)
    return sorted(rows, key=_place)


def _place(row: Row) -> tuple[Any, ...]:
    """Order rows: Hugging Face, ours with everything off, full depth, then the swept points."""
    if row["model"] != "eat":
        return (0, list(LABELS.values()).index(row_label(row)))
    swept = row["exit"] != FULL_DEPTH["name"]
    return (1, swept, row["patience"] or 0, row["threshold"] or 0.0)


def benchmark_rows(
    run: FinishedRun, findings: Findings, benchmark: Mapping[str, Any], baseline: str = PADDED
) -> list[Row]:
    """Return one row for each contender, batch size and thread count, with the quality of its operating point."""
    rows = []
    for measured in benchmark["measurements"]:
        spec, is_ours = measured["exit"], measured["engine"] == "eat"
        trace = findings.traces[findings.main] if spec else findings.dense_traces[findings.main]
        point = findings.point(spec) if spec else findings.dense_points[findings.main]
        row = _point_rows(run, trace, point)[0]
        if not spec:
            row |= DENSE | {"model": "dense", "head_depths": [row["num_layers"]]}
        if not is_ours and measured["batch_size"] > 1:
            row |= {"gflops": None, "flops_ratio": None}  # padding adds work that no trace counts
        p50, p95, p99 = measured["latency_ms"]
        speedup, low, high = measured["speedup"][baseline]
        rows.append(
            row
            | {
                "engine": measured["engine"],
                "batch_size": measured["batch_size"],
                "threads": measured["threads"],
                "device": benchmark["environment"]["device"],
                "dtype": benchmark["environment"]["dtype"],
                "latency_ms_p50": p50,
                "latency_ms_p95": p95,
                "latency_ms_p99": p99,
                "examples_per_s": measured["examples_per_s"],
                "baseline": baseline,
                "speedup": speedup,
                "speedup_low": low,
                "speedup_high": high,
            }
        )
    return rows


def point_label(spec: Mapping[str, Any] | None, contender: str) -> str:
    """Name a contender of a benchmark: a baseline, full depth, or an operating point."""
    if spec is None:
        return LABELS[contender]
    return "eat, full depth" if spec == FULL_DEPTH else f"eat, {label(spec)}"


def is_point(row: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    """Return True where a row is about an operating point of the adaptive encoder."""
    values = (spec["name"], spec.get("threshold"), spec.get("patience"))
    return bool(row["model"] == "eat" and (row["exit"], row["threshold"], row["patience"]) == values)


def row_label(row: Mapping[str, Any]) -> str:
    """Name a row's contender: the engine, or the operating point."""
    if row["engine"] in LABELS:
        return LABELS[row["engine"]]
    if row["model"] == "dense":
        return LABELS[ALL_OFF]
    if row["exit"] == FULL_DEPTH["name"]:
        return "eat, full depth"
    details = [f"{row['threshold']:g}" if row["threshold"] is not None else ""]
    details += [f"patience {row['patience']}" if row["patience"] is not None else ""]
    return " ".join(["eat,", row["exit"], *filter(None, details)])


def _point_rows(run: FinishedRun, trace: Trace, point: Point) -> list[Row]:
    delta = point.delta_dense or point.delta
    rows: list[Row] = []
    for metric, value in point.metrics.items():
        values: dict[str, Any] = {
            "split": trace.metadata["split"],
            "data": trace.metadata["data"],
            "exit": point.exit["name"],
            "threshold": point.exit.get("threshold"),
            "patience": point.exit.get("patience"),
            "examples": len(trace),
            "metric": metric,
            "value": value,
            "ece": point.ece,
            "avg_depth": point.avg_depth,
            "retention": point.retention,
            "gflops": point.gflops,
            "flops_ratio": point.flops_ratio,
        }
        if delta is not None and not rows:
            values |= {"delta_points": delta.points, "delta_low": delta.low, "delta_high": delta.high}
        rows.append(run.row(trace.metadata["config"], **values))
    return rows
