"""A plan as files and as the table that is printed: predicted and measured side by side."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eat.benchmark.contenders import ALL_OFF, PADDED
from eat.benchmark.latency.model import WORK, LatencyModel, WorkCounter
from eat.evaluation.report.section import Section
from eat.evaluation.report.table import number, render
from eat.exits.points import OperatingPoint
from eat.models.config import AdaptiveConfig
from eat.traces.trace import Trace

log = logging.getLogger(__name__)

FILE = "plan.json"

BASELINES = {PADDED: "Hugging Face, padded", ALL_OFF: "eat, everything off"}


def plan_section(plan: Mapping[str, Any], folder: Path) -> Section:
    """Lay out plan.json, plan.md, and what is printed."""
    said = "\n".join(_sentences(plan))
    return Section(
        files={FILE: json.dumps(plan, indent=1) + "\n", "plan.md": plan_markdown(plan)},
        console=f"{plan_table(plan)}\n\n{said}\n\nplan: {folder / 'plan.md'}",
    )


def latency_model(plan: Mapping[str, Any], trace: Trace) -> LatencyModel:
    """Return the latency model of a plan, for the model whose trace this is."""
    fitted = plan["calibration"]
    seconds = {name: 1e-6 * fitted["microseconds"][name] for name in WORK}
    counter = WorkCounter(AdaptiveConfig.from_dict(dict(trace.config)))
    return LatencyModel(counter, plan["batch_size"], seconds, fitted["error"])


def read_latency(folder: Path, trace: Trace) -> LatencyModel | None:
    """Read the latency model of an earlier plan; None where none was made, or it was made for other weights.

    Args:
        folder: The report folder.
        trace: Of the weights that the report is about.

    Raises:
        ValueError: If the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        if plan["fingerprint"] != trace.metadata["fingerprint"]:
            log.warning("%s was made for other weights and is left out; run stages=[plan] again", path)
            return None
        return latency_model(plan, trace)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and run stages=[plan] again") from error


def plan_markdown(plan: Mapping[str, Any]) -> str:
    """Say what was chosen, what it costs as predicted and as measured, and on which machine."""
    machine = plan["machine"]
    sentences = "\n".join(f"- {sentence}" for sentence in _sentences(plan))
    return (
        f"# Plan: {_budget(plan)}\n\n{sentences}\n\n{plan_table(plan, markdown=True)}\n\n"
        f"Machine: {machine['cpu']}, device {machine['device']}, threads: {plan['threads']}, {machine['dtype']}, torch "
        f"{machine['torch']}. Times: {plan['texts']} texts of the threshold split ({plan['mean_length']:.1f} tokens on "
        f"average), {plan['calibration']['rounds']} rounds, contenders in turns. Predicted from the times of "
        f"{len(plan['calibration']['probe_ms'])} other runs of the model on the same texts (median error of one call "
        f"{100 * plan['calibration']['error']:.1f} %). {_depths(plan)}Live answers that equal the replayed ones: "
        f"{plan['agreement'][0]} of {plan['agreement'][1]}. Every operating point that was considered is in "
        "`plan.json`.\n"
    )


def plan_table(plan: Mapping[str, Any], *, markdown: bool = False) -> str:
    """Lay out predicted beside measured."""
    predicted, measured = plan["predicted"], plan["measured"]
    headers = [f"batch size {plan['batch_size']}, threads: {plan['threads']}", "predicted", "measured"]
    rows = [
        [name, number(predicted[key], digits), number(measured[key], digits)]
        for name, key, digits in (
            ("ms per call", "latency_ms", 2),
            ("ms per call, p50", "latency_ms_p50", 2),
            ("ms per call, p95", "latency_ms_p95", 2),
            ("examples/s", "examples_per_s", 0),
        )
    ]
    rows += [
        [f"speed-up over {name}", _speedup(predicted["speedup"][key]), _speedup(measured["speedup"][key])]
        for key, name in BASELINES.items()
    ]
    (held_out, chosen_on), (reported, measured_on) = plan["quality"].items()
    rows.append([f"{plan['metric']}: {held_out}, {reported}", _value(chosen_on), _value(measured_on)])
    rows.append(["points to full depth", _points(chosen_on), _points(measured_on)])
    return render(headers, rows, markdown=markdown)


def _sentences(plan: Mapping[str, Any]) -> list[str]:
    """Say how the chosen point is used, how far off the prediction was, and whether the budget is kept."""
    point = OperatingPoint.of(plan["exit"])
    hydra = " ".join(point.overrides)
    python = ", ".join(f"{key}={value!r}" for key, value in point.spec.items())
    measured, predicted = plan["measured"]["speedup"][PADDED][0], plan["predicted"]["speedup"][PADDED][0]
    off = 100 * (predicted / measured - 1)
    return [
        f"operating point for {_budget(plan)}: {point.label}",
        f"use it with `{hydra}`, or from Python with `model.set_exit({python})`",
        f"the predicted speed-up is {abs(off):.1f} % {'above' if off > 0 else 'below'} the measured one",
        f"the budget is {'kept' if _is_kept(plan) else 'MISSED'} as measured",
    ]


def _depths(plan: Mapping[str, Any]) -> str:
    """Say what a call takes when all sequences leave at one head, for each head; nothing where no exit is possible."""
    times = [f"{ms:.2f} ms at depth {depth}" for depth, ms in plan["calibration"]["depth_ms"].items()]
    return f"A call takes, if everybody leaves at once: {', '.join(times)}. " if times else ""


def _budget(plan: Mapping[str, Any]) -> str:
    if "speedup" in plan["budget"]:
        return f"{plan['budget']['speedup']:g}x Hugging Face SDPA (padded) at batch size {plan['batch_size']}"
    return f"{plan['budget']['latency_ms']:g} ms per call at batch size {plan['batch_size']}"


def _is_kept(plan: Mapping[str, Any]) -> bool:
    budget, measured = plan["budget"], plan["measured"]
    if "speedup" in budget:
        return bool(measured["speedup"][PADDED][0] >= budget["speedup"])
    return bool(measured["latency_ms"] <= budget["latency_ms"])


def _speedup(values: Sequence[float]) -> str:
    speedup, low, high = values
    return f"{speedup:.2f}x [{low:.2f}, {high:.2f}]"


def _value(quality: Mapping[str, Any]) -> str:
    interval = quality["interval"]
    return number(quality["value"], 4) + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")


def _points(quality: Mapping[str, Any]) -> str:
    points, low, high = quality["points_to_full_depth"]
    return f"{points:+.2f} [{low:+.2f}, {high:+.2f}]"
