"""Findings and measurements as rows of a results table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eat.benchmark.agreement import another_model
from eat.benchmark.contenders import ALL_OFF, PADDED, TITLES
from eat.benchmark.engines import EAT, ENGINES
from eat.benchmark.protocol import Ratio, enough
from eat.benchmark.results import Benchmark, Measurement, OwnQuality, ShortcutFacts
from eat.evaluation.findings import Findings
from eat.evaluation.report.table import Row, make_row
from eat.exits.points import FULL_DEPTH, OperatingPoint, threshold_text
from eat.models.config import pooling_at
from eat.runs.finished import FinishedRun
from eat.traces.quality import Point
from eat.traces.run_traces import RunTraces, engine_of_trace
from eat.traces.trace import Trace

DENSE = {"attention": "full", "window": None, "pruner": "none", "depths": None, "ratio": None}
SHORTCUTS = {"static": "static {} layers", "truncated": "first {} layers"}
"""Values of the column ``model`` that are shallower models, trained so or cut off, and how they are shown."""
OTHER_ENGINE = "other_engine"
"""Value of the column ``model`` of the adaptive encoder run by another engine, in a report that is about eat's own."""


def run_row(run: FinishedRun, model_config: Mapping[str, Any], **values: Any) -> Row:
    """Build a results row with the columns that describe a run and its model; ``values`` are further columns."""
    attention, pruner, heads = model_config["attention"], model_config["pruner"], model_config["heads"]
    base = {
        **{part: _name_of(run.config.get(part)) for part in ("experiment", "task", "budget", "backbone")},
        "run": run.name,
        "commit": run.environment().get("commit"),
        "model": "eat",
        "num_layers": model_config["backbone"]["num_layers"],
        "attention": attention["name"],
        "window": attention.get("window"),
        "pruner": pruner["name"],
        "depths": pruner.get("depths"),
        "ratio": pruner.get("ratio"),
        "head_depths": heads["depths"],
        "head_pooling": heads["pooling"],
        "objective": _objective(run.config.get("objective") or {}),
        "seed": run.config.get("seed"),
    }
    return make_row(**(base | values))


def quality_rows(run: FinishedRun, findings: Findings) -> list[Row]:
    """Return one row for each split, operating point and metric; deltas stand beside the primary metric only.

    `delta_*` is to the dense run where one was given as baseline, else to the same model's own full depth.
    """
    return [
        point_row(run, trace, point, metric)
        for name, trace in findings.traces.splits.items()
        for point in findings.points.get(name, [findings.own_points[name]])
        for metric in point.metrics
    ]


def frontier_rows(run: FinishedRun, findings: Findings, benchmark: Benchmark | None) -> list[Row]:
    """Return the primary metric beside the cost: baselines, full depth, swept points; times where they were measured.

    Speed-ups are over Hugging Face on padded batches.
    """
    rows = benchmark_rows(run, findings, benchmark, PADDED) if benchmark else []
    live = {_operating_point(row) for row in rows if row["model"] == "eat"}
    for name, points in findings.points.items():
        for point in points:
            row = point_row(run, findings.traces.splits[name], point)
            if name != findings.traces.main or _operating_point(row) not in live:
                rows.append(row)
    return sorted(rows, key=_place)


def _operating_point(row: Row) -> tuple[Any, ...]:
    return row["exit"], str(row["threshold"]), row["patience"]


def _place(row: Row) -> tuple[Any, ...]:
    """Order rows: baselines, ours with everything off, shortcuts, full depth, then the swept points."""
    if row["model"] == OTHER_ENGINE:
        return (3, list(ENGINES).index(row["engine"]))
    if row["model"] in SHORTCUTS:
        return (1, list(SHORTCUTS).index(row["model"]), row["num_layers"])
    if row["model"] != "eat":
        return (0, list(TITLES.values()).index(row_label(row)))
    threshold = 0.0 if row["threshold"] is None else float(np.mean(row["threshold"]))
    return (2, row["exit"] != FULL_DEPTH.name, row["patience"] or 0, threshold)


def benchmark_rows(run: FinishedRun, findings: Findings, benchmark: Benchmark, baseline: str) -> list[Row]:
    """Return one row for each contender, batch size and thread count, with the quality of its operating point."""
    rows = []
    for measured in benchmark.measurements:
        row = _contender_row(run, findings, benchmark, measured)
        if measured.engine != EAT and measured.exit is None and measured.batch_size > 1:
            row |= {"gflops": None, "flops_ratio": None}  # padding adds work that no trace counts
        row |= {name: getattr(measured, name) for name in ("engine", "batch_size", "threads", "examples_per_s")}
        row |= zip(("latency_ms_p50", "latency_ms_p95", "latency_ms_p99"), measured.latency_ms, strict=True)
        row |= {"device": benchmark.environment["device"], "baseline": baseline, "efficiency": efficiency(measured)}
        row["dtype"] = _dtype(measured.engine) or benchmark.environment["dtype"]
        row |= _interval("speedup", shown_ratio(measured, measured.speedup[baseline]))
        row |= _interval("speedup_tokenised", shown_ratio(measured, (measured.speedup_tokenised or {}).get(baseline)))
        rows.append(row | _memory(benchmark, measured))
    return rows


def absent_rows(run: FinishedRun, findings: Findings, benchmark: Benchmark) -> list[Row]:
    """Return one row for each contender that was not measured, with the reason as its note."""
    metadata = findings.traces.reported.metadata
    values = {"split": metadata["split"], "data": metadata["data"], "device": benchmark.environment["device"]}
    return [
        run_row(run, metadata["config"], **values, engine=name, note=f"not measured: {reason}")
        | DENSE
        | {"model": "dense", "dtype": _dtype(name)}
        for name, reason in benchmark.not_measured.items()
    ]


def shown_ratio(measured: Measurement, ratio: Ratio | None) -> Sequence[float | None] | None:
    """Return a speed-up with its interval, or without where too few batches of texts stand behind it."""
    return ratio if ratio is None or enough(measured.examples, measured.batch_size) else (ratio[0], None, None)


def efficiency(measured: Measurement) -> float | None:
    """Return how much of the saved work became saved time: speed-up over everything off x FLOPs ratio to it."""
    ratio = measured.flops_ratio
    return None if ratio is None else float(measured.speedup[ALL_OFF][0] * ratio)


def last_head_reads(traces: RunTraces) -> str:
    """Return what the last head of the traced model reads: "cls" or "mean"."""
    heads = traces.reported.config["heads"]
    return pooling_at(heads, max(heads["depths"]))


def point_label(point: OperatingPoint | None, contender: str) -> str:
    """Name a contender of a benchmark: a baseline, full depth, or an operating point, perhaps of another engine."""
    if point is None:
        return TITLES.get(contender, contender.replace("_", " "))
    engine, of_another, _ = contender.partition(":")
    title = engine_title(engine if of_another else None)
    return f"{title}, {'full depth' if point == FULL_DEPTH else point.label}"


def is_point(row: Mapping[str, Any], point: OperatingPoint) -> bool:
    """Return True where a row is about an operating point of the adaptive encoder."""
    return bool(row["model"] == "eat" and all(row[key] == value for key, value in point.columns.items()))


def row_label(row: Mapping[str, Any]) -> str:
    """Name a row's contender: the engine, or the operating point."""
    adaptive = row["model"] in ("eat", OTHER_ENGINE)
    if row["engine"] in TITLES and not adaptive:
        return TITLES[row["engine"]]
    if row["model"] in SHORTCUTS:
        return SHORTCUTS[row["model"]].format(row["num_layers"])
    if row["model"] == "dense":
        return TITLES[ALL_OFF]
    title = engine_title(row["engine"])
    if row["exit"] == FULL_DEPTH.name:
        return f"{title}, full depth"
    details = [threshold_text(row["threshold"]) if row["threshold"] is not None else ""]
    details += [f"patience {row['patience']}" if row["patience"] is not None else ""]
    return " ".join([f"{title},", row["exit"], *filter(None, details)])


def engine_title(engine: str | None) -> str:
    """Name what runs the adaptive encoder: eat's own engine where none is named."""
    return EAT if engine in (None, EAT) else ENGINES[engine].title.removesuffix(", everything off")


def point_row(run: FinishedRun, trace: Trace, point: Point, metric: str | None = None) -> Row:
    """Return an operating point of a split as a row: a metric, the primary one unless named, beside the cost."""
    primary = next(iter(point.metrics))
    metric = metric or primary
    delta = (point.delta_dense or point.delta) if metric == primary else None
    ends = None if delta is None else (delta.points, delta.low, delta.high)
    values = {name: getattr(point, name) for name in ("ece", "avg_depth", "retention", "gflops", "flops_ratio")}
    values |= point.exit.columns | _interval("delta", ends, "delta_points")
    values |= {"metric": metric, "value": point.metrics[metric]}
    values |= {"split": trace.split, "data": trace.metadata["data"], "examples": len(trace)}
    engine = engine_of_trace(trace)
    values |= {} if engine.is_eat else {"engine": engine.name, "dtype": _dtype(engine.name)}
    return run_row(run, trace.config, **values)


def _contender_row(run: FinishedRun, findings: Findings, benchmark: Benchmark, measured: Measurement) -> Row:
    """Return what a contender is and how good it is on the main split."""
    if measured.exit is not None and measured.engine != EAT:
        return _served_row(run, findings, measured.exit, benchmark.quality[measured.contender])
    if measured.exit is not None:
        return point_row(run, findings.traces.reported, findings.point(measured.exit))
    dense = findings.dense_points[findings.traces.main]
    row = point_row(run, findings.traces.all_off[findings.traces.main], dense)
    row |= DENSE | {"model": "dense", "head_depths": [row["num_layers"]]}
    facts = benchmark.shortcuts.get(measured.contender)
    if facts is not None:
        row |= _shortcut_values(facts, row["metric"], compared=dense.delta_dense is None)
    other = another_model(benchmark, measured, last_head_reads(findings.traces))
    if other is not None or not ENGINES[measured.engine].exact:
        row |= dict.fromkeys(("value", "delta_points", "delta_low", "delta_high", "ece"))
        row |= {"note": other}
    own = benchmark.quality.get(measured.contender)
    if own is not None:
        delta = own.delta if dense.delta_dense is None else None
        row |= {"value": own.metrics.get(row["metric"]), "ece": own.ece, **_interval("delta", delta, "delta_points")}
    return row


def _served_row(run: FinishedRun, findings: Findings, exit: OperatingPoint, quality: OwnQuality) -> Row:
    """Return an operating point of another engine than eat's own, with the quality of that engine's answers."""
    trace, dense = findings.traces.reported, findings.dense_points[findings.traces.main]
    metric = trace.task.metrics[0]
    values = {name: getattr(quality, name) for name in ("ece", "avg_depth", "retention", "gflops", "flops_ratio")}
    values |= exit.columns | {"model": OTHER_ENGINE, "metric": metric, "value": quality.metrics.get(metric)}
    values |= _interval("delta", quality.delta if dense.delta_dense is None else None, "delta_points")
    values |= {"split": trace.split, "data": trace.metadata["data"], "examples": len(trace)}
    return run_row(run, trace.config, **values)


def _shortcut_values(facts: ShortcutFacts, metric: str, *, compared: bool) -> Row:
    """Return the columns in which a shortcut differs from the dense model; its difference is to our full depth."""
    return {
        "model": "static" if facts.run else "truncated",
        "num_layers": facts.num_layers,
        "head_depths": [facts.num_layers],
        "value": facts.metrics.get(metric),
        **_interval("delta", facts.delta if compared else None, first="delta_points"),
        "ece": facts.ece,
        "avg_depth": float(facts.num_layers),
        "gflops": facts.gflops,
        "flops_ratio": facts.flops_ratio,
        "note": f"trained in {facts.run}" if facts.run else "own early head",
    }


def _interval(name: str, values: Sequence[float | None] | None, first: str | None = None) -> Row:
    """Return a value and the ends of its interval under a column's names."""
    columns = (first or name, f"{name}_low", f"{name}_high")
    return dict(zip(columns, values or (None, None, None), strict=True))


def _memory(benchmark: Benchmark, measured: Measurement) -> Row:
    """Return peak memory beside the times at the batch size and thread count that it was measured with."""
    memory = benchmark.memory
    if memory is None or (memory.batch_size, memory.threads) != (measured.batch_size, measured.threads):
        return {}
    peak = memory.peaks.get(measured.contender)
    return (
        {} if peak is None else {"peak_memory_mib": peak.peak_mib, "peak_memory_over_loaded_mib": peak.over_loaded_mib}
    )


def _dtype(engine: str) -> str | None:
    """Return what an engine computes in, whatever the weights' type."""
    return ENGINES[engine].dtype if engine in ENGINES else None


def _name_of(part: Any) -> str | None:
    return part.get("name") if isinstance(part, Mapping) else part


def _objective(spec: Mapping[str, Any]) -> str | None:
    """Name the objective and its terms that have a weight; runs from before objectives had names are joint ones."""
    if not spec:
        return None
    terms = [spec.get("name", "joint")]
    terms += ["self_distill"] if spec.get("self_weight") else []
    terms += ["distill"] if spec.get("teacher") else []
    terms += ["class_weights"] if spec.get("class_weights") else []
    terms += ["focal"] if spec.get("focal_gamma") else []
    return "+".join(terms)
