"""Each head by itself on the main split, how far its probabilities can be trusted, and a calibration as files."""

import json
from functools import partial
from pathlib import Path

from eat.evaluation.calibration import Calibration
from eat.evaluation.context import Evaluation
from eat.evaluation.report.figures import draw_calibration
from eat.evaluation.report.section import Section
from eat.evaluation.report.table import number, render
from eat.models.granted import EAT
from eat.traces.heads import measure_heads
from eat.traces.quality import metric_values


def heads_section(run: Evaluation) -> Section:
    """Lay out a line per head; draw reliability where there are classes."""
    trace = run.traces.reported
    calibrated = [None] * len(trace.head_depths) if trace.is_regression else measure_heads(trace)
    lines = []
    for head, (depth, found) in enumerate(zip(trace.head_depths, calibrated, strict=True)):
        values = metric_values(trace.task, trace.labels, trace.all_logits[:, head])
        worth = [number(v, 4) for v in ((found.ece, found.brier, found.auroc) if found else ())]
        temperature = [number(trace.temperatures[head], 3)] if trace.temperatures else []
        lines.append([f"depth {depth}", *(number(v, 4) for v in values.values()), *worth, *temperature])
    headers = [f"head on {trace.split}", *trace.task.metrics]
    headers += [] if trace.is_regression else ["ECE (15 bins)", "Brier", "AUROC of doubt"]
    headers += ["temperature"] if trace.temperatures else []
    text = render(headers, lines, markdown=True)
    if trace.is_regression:
        return Section("Heads", text)
    text += "\n\nAUROC of doubt: how often a wrong answer is less sure than a right one; 0.5 is chance."
    figure = partial(draw_calibration, trace.raw, run.temperatures)
    return Section("Heads", text, files={"calibration.png": figure})


def calibration_section(found: Calibration, folder: Path) -> Section:
    """Lay out calibration.json, calibration.md, and what is printed; `heads_section` draws calibration.png."""
    return Section(
        files={
            "calibration.json": json.dumps(found.to_json(), indent=1) + "\n",
            "calibration.md": calibration_markdown(found),
        },
        console=f"{calibration_table(found)}\n\n{_about(found)}\n\ncalibration: {folder}",
    )


def calibration_markdown(found: Calibration) -> str:
    """Say what was fitted on what, and what it did to every head."""
    return (
        f"# Calibration of {found.run}\n\n{_about(found)}\n\n{calibration_table(found, markdown=True)}\n\n"
        "Each cell: before, after. ECE: expected calibration error, 15 bins. Brier: squared error of the "
        "probabilities, summed over the classes. AUROC: how often a wrong answer is doubted more than a right one (0.5 "
        "is chance); empty where no answer is wrong. Answers and accuracy stay the same.\n\n"
        "![reliability](calibration.png)\n"
    )


def calibration_table(found: Calibration, *, markdown: bool = False) -> str:
    """Lay out every head on every split, before and after."""
    headers = ["split", "head", "temperature", "accuracy", "confidence", "ECE", "Brier", "cross-entropy", "AUROC"]
    lines = []
    for name, split in found.splits.items():
        for before, after, temperature in zip(split.before, split.after, found.temperatures, strict=True):
            pairs = [
                f"{number(getattr(before, key), 4)}, {number(getattr(after, key), 4)}"
                for key in ("confidence", "ece", "brier", "nll", "auroc")
            ]
            own = [f"{name} ({split.examples:,})", str(before.depth), number(temperature, 3)]
            lines.append([*own, number(before.accuracy, 4), *pairs])
    return render(headers, lines, markdown=markdown)


def _about(found: Calibration) -> str:
    scaled = sum(value != 1 for value in found.temperatures)
    into = "written into the saved model" if found.engine == EAT else f"kept for the engine {found.engine}"
    done = into if found.applied else "not applied: the saved model is as it was"
    return (
        f"Temperatures fitted on the {found.fitted_on} split for the {scaled} of {len(found.temperatures)} heads whose "
        f"ECE is above {100 * found.max_ece:g} % there; {done}."
    )
