"""Points of a frontier: quality over executed work, from traces, and over latency, from the rows of reports."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from eat.benchmark.contenders import ALL_OFF, TITLES
from eat.benchmark.engines import EAT
from eat.evaluation.report.figures import is_timed, smallest_timed
from eat.evaluation.report.rows import row_label
from eat.evaluation.report.table import Row
from eat.exits.points import FULL_DEPTH, OperatingPoint, threshold_text
from eat.results.figures.evidence import Evidence
from eat.results.figures.suite import Suite, shown_points
from eat.traces.quality import metric_values
from eat.traces.replay import replay


@dataclasses.dataclass(frozen=True)
class FrontierPoint:
    """One operating point, over the seeds of an experiment."""

    label: str  # threshold or patience; "full" where all run through all layers
    cost: float  # mean over the seeds
    value: float  # primary metric, mean over the seeds
    deviation: float = 0.0  # sample standard deviation of the metric over the seeds; 0 for one seed


@dataclasses.dataclass(frozen=True)
class Baseline:
    """What was timed beside a run."""

    name: str  # as legends show it
    engine: str  # key of `ENGINES`
    num_layers: int | None  # of a static shallow model; None for the dense one
    point: FrontierPoint  # its latency and quality


def counted(suite: Suite, runs: Sequence[Evidence]) -> list[FrontierPoint]:
    """Return the operating points of an experiment over executed work / that of the dense encoder, from traces."""
    swept = shown_points(runs[0]) if runs[0].has_early_heads else []
    found = []
    for point in [*(point for point in swept if point != FULL_DEPTH), FULL_DEPTH]:
        measured = []
        for run in runs:
            trace = run.traces.reported
            replayed = replay(trace, point)
            value = next(iter(metric_values(trace.task, trace.labels, replayed.logits).values()))
            measured.append((suite.compute(trace, replayed.flops(trace.costs)), value))
        found.append(_over_seeds(_point_label(point), measured))
    return found


def counted_all_off(suite: Suite) -> Baseline | None:
    """Return what the first experiment answers with everything off, over executed work; None where one is dense."""
    if suite.dense:
        return None
    label, runs = next(iter(suite.experiments.items()))
    measured = []
    for run in runs:
        trace = run.traces.all_off[run.traces.main]
        value = next(iter(metric_values(trace.task, trace.labels, trace.full_depth).values()))
        measured.append((suite.compute(trace, trace.costs.dense), value))
    return Baseline(f"{TITLES[ALL_OFF]}, weights of {label}", EAT, None, _over_seeds("", measured))


def timed_size(suite: Suite) -> int | None:
    """Return the smallest batch size that a run was timed at; None where none was timed."""
    return smallest_timed(row for run in suite.runs for row in run.rows)


def timed(runs: Sequence[Evidence], size: int) -> list[FrontierPoint]:
    """Return the operating points that every run of an experiment measured, over mean latency in ms at a batch size."""
    measured = [{_key(row): row for row in at_size(run.rows, size) if row["model"] == "eat"} for run in runs]
    common = [key for key in measured[0] if all(key in rows for rows in measured)]
    points = [_over_seeds(_label(*key), [_latency_and_value(rows[key]) for rows in measured]) for key in common]
    return sorted(points, key=lambda point: point.cost)


def timed_baselines(suite: Suite, size: int) -> list[Baseline]:
    """Return what was timed beside the dense experiment, else beside the first that was timed, and static models."""
    found: dict[str, Baseline] = {}
    for kind in ("dense", "static", "adaptive"):
        for label, runs in suite.of_kind(kind).items():
            rows = [[row for row in at_size(run.rows, size) if row["model"] == "dense"] for run in runs]
            if all(rows) and not found:
                whose = "" if kind == "dense" else f", weights of {label}"
                skipped = TITLES[ALL_OFF] if kind == "dense" else ""  # which is the dense run itself
                found = {
                    name: Baseline(f"{name}{whose}", row["engine"], None, _pooled(name, rows))
                    for row in rows[0]
                    if (name := row_label(row)) != skipped and all(name in map(row_label, other) for other in rows)
                }
    for run in suite.runs:
        for row in at_size(run.rows, size):
            if row["model"] == "static" and row_label(row) not in found:
                name, point = row_label(row), _over_seeds("", [_latency_and_value(row)])
                found[name] = Baseline(name, row["engine"], row["num_layers"], point)
    return list(found.values())


def at_size(rows: Sequence[Row], size: int) -> list[Row]:
    """Return the rows timed at a batch size with the fewest threads, as far as their quality is known."""
    found = [row for row in rows if is_timed(row) and row["batch_size"] == size]
    threads = min((row["threads"] for row in found), default=None)
    return [row for row in found if row["threads"] == threads]


def machine(row: Mapping[str, object]) -> str:
    """Name the device and the threads that a row was timed with."""
    threads = row["threads"]
    return f"{row['device']}, {threads} thread{'s' if threads != 1 else ''}"


def _pooled(name: str, rows: Sequence[Sequence[Row]]) -> FrontierPoint:
    return _over_seeds("", [_latency_and_value(row) for others in rows for row in others if row_label(row) == name])


def _over_seeds(label: str, measured: Sequence[tuple[float, float]]) -> FrontierPoint:
    costs, values = zip(*measured, strict=True)
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return FrontierPoint(label, statistics.mean(costs), statistics.mean(values), deviation)


def _latency_and_value(row: Row) -> tuple[float, float]:
    """Mean time in ms (with exits a median hides those that stay) and the primary metric."""
    return 1e3 / row["examples_per_s"], row["value"]


def _key(row: Mapping[str, object]) -> tuple[str, str, str]:
    threshold = row["threshold"]
    return str(row["exit"]), "" if threshold is None else threshold_text(threshold), str(row["patience"] or "")  # type: ignore[arg-type]


def _label(name: str, threshold: str, patience: str) -> str:
    return "full" if name == FULL_DEPTH.name else threshold or (f"patience {patience}" if patience else name)


def _point_label(point: OperatingPoint) -> str:
    return _label(*_key(point.columns))
