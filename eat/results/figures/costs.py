"""Cost against input length: counted and measured, under EAT's cost model."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes

from eat.benchmark.contenders import ALL_OFF
from eat.ops.selection import keep_counts
from eat.results.figures.cost_model import CostFit, fit_cost_model
from eat.results.figures.evidence import Evidence
from eat.results.figures.lengths import length_bins
from eat.results.figures.style import LOOKS, printing
from eat.results.figures.suite import NothingToDrawError, Suite
from eat.suite.records import Row
from eat.suite.shapes import SHAPE_TITLES, SHAPES
from eat.suite.timed import WINDOWED_PRUNED
from eat.suite.workbench import PRUNER, WINDOW
from eat.traces.replay import replay


@dataclasses.dataclass(frozen=True)
class CostCurve:
    """Cost of one encoder by length, beside what the cost model says of the same sequences."""

    lengths: Float[np.ndarray, " bins"]  # mean tokens that came in
    cost: Float[np.ndarray, " bins"]  # mean cost
    predicted: Float[np.ndarray, " bins"]  # mean of the model's costs
    error: float  # mean over the sequences of |predicted - cost| / cost


@dataclasses.dataclass(frozen=True)
class Costs:
    """Dense and adaptive costs, and the model that was fitted to both."""

    fit: CostFit
    dense: CostCurve
    adaptive: CostCurve


def counted_costs(run: Evidence) -> Costs:
    """Fit the model to the GFLOPs of a run's reported split: dense, and at the operating point of its report."""
    trace = run.traces.reported
    replayed = replay(trace, run.point)
    dense, adaptive = trace.costs.dense / 1e9, replayed.flops(trace.costs) / 1e9
    fit = fit_cost_model(trace.lengths, run.num_layers, dense, tokens_read(replayed.tokens_kept), run.window, adaptive)
    return _binned(fit, length_bins(trace.lengths), trace.lengths, dense, adaptive)


def tokens_read(tokens_kept: Int[np.ndarray, "examples columns"]) -> Int[np.ndarray, "examples layers"]:
    """Return how many tokens each block works on, 0 where a sequence has left: block d reads what d - 1 kept."""
    return tokens_kept[:, :-1]


def measured_costs(curves: Sequence[Row], shape: str = "minilm") -> Costs | None:
    """Fit the model to the median ms of a benchmark's cost curves at batch size 1; None where they have none.

    Dense is our encoder with everything off; adaptive is windowed and pruned as in the paper, and none leaves early.
    """
    rows = [
        r for r in curves if (r["part"], r["shape"], r["batch_size"], r["dtype"]) == ("curves", shape, 1, "float32")
    ]
    times = {
        name: {r["length"]: r["latency_ms_p50"] for r in rows if r["contender"] == name and r["latency_ms_p50"]}
        for name in (ALL_OFF, WINDOWED_PRUNED)
    }
    lengths = sorted(times[ALL_OFF].keys() & times[WINDOWED_PRUNED].keys())
    if len(lengths) < 3:
        return None
    layers = int(SHAPES[shape]["num_hidden_layers"])
    dense, adaptive = (np.array([times[name][length] for length in lengths]) for name in (ALL_OFF, WINDOWED_PRUNED))
    came_in = np.array(lengths)
    fit = fit_cost_model(came_in, layers, dense, _tokens_of_suite(lengths, layers), WINDOW, adaptive)
    bins = [np.array([index]) for index in range(len(lengths))]
    return _binned(fit, bins, came_in, dense, adaptive)


def draw_costs(suite: Suite, path: Path, curves: Sequence[Row] = ()) -> list[str]:
    """Draw FLOPs against length of one adaptive experiment, and ms where a benchmark has them, each with the model.

    The experiment is the first that prunes, has a window and early heads, or as many of these as there are.
    """
    adaptive = suite.of_kind("adaptive")
    if not adaptive:
        raise NothingToDrawError("all runs are dense or static: no cost but the dense encoder's")
    label = max(adaptive, key=lambda name: _parts_on(adaptive[name][0]))
    run = adaptive[label][0]
    measured = measured_costs(curves)
    notes = [f"costs: of {len(adaptive)} adaptive experiments {label} is drawn"] if len(adaptive) > 1 else []
    notes += [] if measured else ["costs: no times are drawn, no benchmark with cost curves was given"]
    with printing(path, 4.2, suite.subject) as figure:
        panels = figure.subplots(1, 2 if measured else 1, squeeze=False)[0]
        _draw(panels[0], counted_costs(run), ("dense", f"{label}, {run.point.label}"))
        panels[0].set_ylabel("executed GFLOPs per text")
        if measured:
            panels[0].set_title(f"{suite.first.task.name} {suite.first.split}")
            rows = [row for row in curves if row["part"] == "curves"]
            _draw(panels[1], measured, ("dense (all off)", f"window {WINDOW} and pruned, no exits"))
            panels[1].set_ylabel("ms per call, median")
            machine = f"{rows[0]['device']}, {rows[0]['threads']} threads"
            panels[1].set_title(f"{SHAPE_TITLES['minilm']}, batch 1, {machine}")
        for axes in panels:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17))
    return notes


def _draw(axes: Axes, costs: Costs, names: tuple[str, str]) -> None:
    for curve, name, equation, look in zip((costs.dense, costs.adaptive), names, (4, 5), LOOKS, strict=False):
        axes.plot(curve.lengths, curve.cost, color=look["color"], marker=look["marker"], linestyle="none", label=name)
        fitted = f"eq. {equation} fitted, mean error {100 * curve.error:.1f} %"
        axes.plot(curve.lengths, curve.predicted, color=look["color"], linestyle=look["linestyle"], label=fitted)
    for line in axes.lines:
        line.set(markersize=4, linewidth=1.2)
    axes.set_xlabel("tokens that came in")
    decades = np.log10(costs.dense.cost.max() / costs.adaptive.cost.min())
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2 if decades < 2 else 10)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")


def _binned(
    fit: CostFit, bins: Sequence[np.ndarray], lengths: np.ndarray, dense: np.ndarray, adaptive: np.ndarray
) -> Costs:
    """Average costs and predictions over the sequences of each bin."""

    def mean(values: np.ndarray) -> Float[np.ndarray, " bins"]:
        return np.array([values[members].mean() for members in bins])

    return Costs(
        fit,
        CostCurve(mean(lengths), mean(dense), mean(fit.dense), fit.dense_error),
        CostCurve(mean(lengths), mean(adaptive), mean(fit.adaptive), fit.adaptive_error),
    )


def _tokens_of_suite(lengths: Sequence[int], num_layers: int) -> Int[np.ndarray, "lengths layers"]:
    """Return how many tokens each block of the suite's pruned encoder works on: one protected, min_tokens 1."""
    kept, blocks = tuple(lengths), []
    for depth in range(1, num_layers + 1):
        blocks.append(kept)
        if depth in PRUNER["depths"]:  # type: ignore[operator]
            kept = keep_counts(kept, [1] * len(kept), PRUNER["ratio"])  # type: ignore[arg-type]
    return np.array(blocks).T


def _parts_on(run: Evidence) -> int:
    return run.prunes + bool(run.window) + run.has_early_heads
