"""A plan as files and as the table that is printed: predicted and measured side by side."""

from collections.abc import Sequence
from pathlib import Path

from eat.benchmark.contenders import ALL_OFF, PADDED
from eat.benchmark.latency.model import LatencyModel, WorkCounter
from eat.benchmark.latency.planned import Plan, Quality, read_plan
from eat.benchmark.protocol import ENOUGH_BATCHES, enough
from eat.evaluation.report.section import Section
from eat.evaluation.report.table import number, points_text, render
from eat.models.config import AdaptiveConfig
from eat.traces.trace import Trace

BASELINES = {PADDED: "Hugging Face, padded", ALL_OFF: "eat, everything off"}


def plan_section(plan: Plan, folder: Path) -> Section:
    """Lay out plan.md and what is printed; `save_plan` writes plan.json."""
    said = "\n".join(_sentences(plan))
    return Section(
        files={"plan.md": plan_markdown(plan)},
        console=f"{plan_table(plan)}\n\n{said}\n\nplan: {folder / 'plan.md'}",
    )


def latency_model(plan: Plan, trace: Trace) -> LatencyModel:
    """Return the latency model of a plan, for the model whose trace this is."""
    return plan.fit.latency(WorkCounter(AdaptiveConfig.from_dict(dict(trace.config))), plan.batch_size)


def read_latency(folder: Path, trace: Trace) -> LatencyModel | None:
    """Read the latency model of an earlier plan; None where none was made, or not for the weights of this trace."""
    plan = read_plan(folder, trace.metadata["fingerprint"])
    return None if plan is None else latency_model(plan, trace)


def plan_markdown(plan: Plan) -> str:
    """Say what was chosen, what it costs as predicted and as measured, and on which machine."""
    machine, calls = plan.machine, plan.texts // plan.batch_size
    few = "" if enough(plan.texts, plan.batch_size) else f"Intervals need {ENOUGH_BATCHES} calls. "
    sentences = "\n".join(f"- {sentence}" for sentence in _sentences(plan))
    return (
        f"# Plan: {_budget(plan)}\n\n{sentences}\n\n{plan_table(plan, markdown=True)}\n\n"
        f"Machine: {machine['cpu']}, device {machine['device']}, threads: {plan.threads}, {machine['dtype']}, torch "
        f"{machine['torch']}. Times: {plan.texts} texts of the threshold split ({plan.mean_length:.1f} tokens on "
        f"average) in {calls} {'call' if calls == 1 else 'calls'}, {plan.fit.rounds} rounds, contenders in turns. "
        f"{few}Predicted from the times of "
        f"{len(plan.fit.probe_ms)} other runs of the model on the same texts (median error of one call "
        f"{100 * plan.fit.error:.1f} %). {_depths(plan)}Live answers that equal the replayed ones: "
        f"{plan.agreement[0]} of {plan.agreement[1]}. Every operating point that was considered is in "
        "`plan.json`.\n"
    )


def plan_table(plan: Plan, *, markdown: bool = False) -> str:
    """Lay out predicted beside measured."""
    predicted, measured = plan.predicted, plan.measured
    headers = [f"batch size {plan.batch_size}, threads: {plan.threads}", "predicted", "measured"]
    rows = [
        [name, number(getattr(predicted, key), digits), number(getattr(measured, key), digits)]
        for name, key, digits in (
            ("ms per call", "latency_ms", 2),
            ("ms per call, p50", "latency_ms_p50", 2),
            ("ms per call, p95", "latency_ms_p95", 2),
            ("examples/s", "examples_per_s", 0),
        )
    ]
    rows += [
        [f"speed-up over {name}", *(_speedup(plan, speed.speedup[key]) for speed in (predicted, measured))]
        for key, name in BASELINES.items()
    ]
    qualities = list(plan.quality.values())
    chosen_on, measured_on = qualities[0], qualities[-1]  # the same one with holdout=none
    rows.append([f"{plan.metric}: {', '.join(plan.quality)}", _value(chosen_on), _value(measured_on)])
    points = [points_text(quality.points_to_full_depth) for quality in (chosen_on, measured_on)]
    rows.append(["points to full depth", *points])
    return render(headers, rows, markdown=markdown)


def _sentences(plan: Plan) -> list[str]:
    """Say how the chosen point is used, how far off the prediction was, and whether the budget is kept."""
    point = plan.exit
    hydra = " ".join(point.overrides)
    python = ", ".join(f"{key}={value!r}" for key, value in point.spec.items())
    measured, predicted = plan.measured.speedup[PADDED][0], plan.predicted.speedup[PADDED][0]
    off = 100 * (predicted / measured - 1)
    return [
        f"operating point for {_budget(plan)}: {point.label}",
        f"use it with `{hydra}`, or from Python with `model.set_exit({python})`",
        f"the predicted speed-up is {abs(off):.1f} % {'above' if off > 0 else 'below'} the measured one",
        f"the budget is {'kept' if _is_kept(plan) else 'MISSED'} as measured",
    ]


def _depths(plan: Plan) -> str:
    """Say what a call takes when all sequences leave at one head; nothing where no exit is possible."""
    times = [f"{ms:.2f} ms at depth {depth}" for depth, ms in plan.fit.depth_ms.items()]
    return f"A call takes, if all exit there: {', '.join(times)}. " if times else ""


def _budget(plan: Plan) -> str:
    if "speedup" in plan.budget:
        return f"{plan.budget['speedup']:g}x Hugging Face SDPA (padded) at batch size {plan.batch_size}"
    return f"{plan.budget['latency_ms']:g} ms per call at batch size {plan.batch_size}"


def _is_kept(plan: Plan) -> bool:
    if "speedup" in plan.budget:
        return bool(plan.measured.speedup[PADDED][0] >= plan.budget["speedup"])
    return bool(plan.measured.latency_ms <= plan.budget["latency_ms"])


def _speedup(plan: Plan, values: Sequence[float]) -> str:
    speedup, low, high = values
    if not enough(plan.texts, plan.batch_size):
        return f"{speedup:.2f}x"
    return f"{speedup:.2f}x [{low:.2f}, {high:.2f}]"


def _value(quality: Quality) -> str:
    interval = quality.interval
    return number(quality.value, 4) + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")
